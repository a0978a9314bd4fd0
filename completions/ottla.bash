# Completions for ottla and for Kafka's tools. Made by `ottla generate`, from the tools' own definitions.

# The names that the cluster of this command line knows: topics or groups.
_ottla_names() {
    ottla complete "$1" "${COMP_LINE:0:COMP_POINT}" 2>/dev/null
}

# Finds the word to complete ($cur) and the flag it is the value of ($flag). To bash '=' is a word of its own.
_ottla_words() {
    cur=${COMP_WORDS[COMP_CWORD]}
    flag=${COMP_WORDS[COMP_CWORD-1]}
    after_equals=
    if [[ $cur == "=" ]]; then
        cur= after_equals=1
    elif [[ $flag == "=" && $COMP_CWORD -ge 2 ]]; then
        flag=${COMP_WORDS[COMP_CWORD-2]} after_equals=1
    fi
    [[ $flag == -[!-]* ]] && flag=-$flag
}

# Offers those of the lines in $1 that begin with $cur.
_ottla_offer() {
    local IFS=$'\n'
    COMPREPLY=($(compgen -W "$1" -- "$cur"))
}

_ottla_offer_files() {
    local IFS=$'\n'
    COMPREPLY=($(compgen "$1" -- "$cur"))
    compopt -o filenames 2>/dev/null
}

_ottla_check() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
    esac
    [[ -n $after_equals ]] && return
    [[ $cur != -* ]] && { _ottla_offer_files -d; return; }
    _ottla_offer $'--color\n--help\n--output\n--quiet\n--repair\n--version\n--yes'
}

_ottla_completion() {
    local cur flag after_equals
    _ottla_words
    case $flag in
    esac
    [[ -n $after_equals ]] && return
    [[ $cur != -* ]] && { _ottla_offer $'bash\nzsh\nfish\npowershell'; return; }
    _ottla_offer $''
}

_ottla_console_consumer() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --command-property) :; return ;;
        --formatter) :; return ;;
        --formatter-config) _ottla_offer_files -f; return ;;
        --formatter-property) :; return ;;
        --from) :; return ;;
        --group) _ottla_offer "$(_ottla_names groups)"; return ;;
        --include) :; return ;;
        --isolation-level) :; return ;;
        --key-deserializer) :; return ;;
        --max-messages) :; return ;;
        --offset) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --partition) :; return ;;
        --tail) :; return ;;
        --timeout-ms) :; return ;;
        --to) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
        --value-deserializer) :; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--bootstrap-server\n--color\n--command-config\n--command-property\n--exit-at-end\n--formatter\n--formatter-config\n--formatter-property\n--from\n--from-beginning\n--group\n--help\n--include\n--isolation-level\n--key-deserializer\n--max-messages\n--offset\n--output\n--partition\n--quiet\n--skip-message-on-error\n--tail\n--timeout-ms\n--to\n--topic\n--value-deserializer\n--version\n--yes'
}

_ottla_console_producer() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --batch-size) :; return ;;
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --command-property) :; return ;;
        --compression-codec) [[ $cur != -* ]] && { :; return; } ;;
        --header) :; return ;;
        --input) _ottla_offer $'lines\njson'; return ;;
        --key) :; return ;;
        --max-block-ms) :; return ;;
        --max-memory-bytes) :; return ;;
        --message-send-max-retries) :; return ;;
        --metadata-expiry-ms) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --partition) :; return ;;
        --reader-config) _ottla_offer_files -f; return ;;
        --reader-property) :; return ;;
        --request-required-acks) :; return ;;
        --request-timeout-ms) :; return ;;
        --retry-backoff-ms) :; return ;;
        --socket-buffer-size) :; return ;;
        --timeout) :; return ;;
        --timestamp) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--batch-size\n--bootstrap-server\n--color\n--command-config\n--command-property\n--compression-codec\n--header\n--help\n--input\n--key\n--max-block-ms\n--max-memory-bytes\n--message-send-max-retries\n--metadata-expiry-ms\n--output\n--partition\n--quiet\n--reader-config\n--reader-property\n--request-required-acks\n--request-timeout-ms\n--retry-backoff-ms\n--socket-buffer-size\n--sync\n--timeout\n--timestamp\n--tombstone\n--topic\n--version\n--yes'
}

_ottla_consumer_groups() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --by-duration) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --from-file) _ottla_offer_files -f; return ;;
        --group) _ottla_offer "$(_ottla_names groups)"; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --shift-by) :; return ;;
        --state) [[ $cur != -* ]] && { _ottla_offer $'Stable\nEmpty\nPreparingRebalance\nCompletingRebalance\nDead'; return; } ;;
        --timeout) :; return ;;
        --to-datetime) :; return ;;
        --to-offset) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
        --type) [[ $cur != -* ]] && { _ottla_offer $'classic\nconsumer'; return; } ;;
        --validate-regex) :; return ;;
        --watch) [[ $cur != -* ]] && { :; return; } ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--all-groups\n--all-topics\n--bootstrap-server\n--by-duration\n--color\n--command-config\n--delete\n--delete-offsets\n--describe\n--dry-run\n--execute\n--export\n--from-file\n--group\n--help\n--list\n--members\n--offsets\n--output\n--quiet\n--reset-offsets\n--shift-by\n--state\n--timeout\n--to-current\n--to-datetime\n--to-earliest\n--to-latest\n--to-offset\n--topic\n--type\n--validate-regex\n--verbose\n--version\n--watch\n--yes'
}

_ottla_consumer_perf_test() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --command-property) :; return ;;
        --date-format) :; return ;;
        --fetch-size) :; return ;;
        --group) _ottla_offer "$(_ottla_names groups)"; return ;;
        --include) :; return ;;
        --num-records) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --reporting-interval) :; return ;;
        --socket-buffer-size) :; return ;;
        --timeout) [[ $cur != -* ]] && { :; return; } ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--bootstrap-server\n--color\n--command-config\n--command-property\n--date-format\n--fetch-size\n--from-latest\n--group\n--help\n--hide-header\n--include\n--num-records\n--output\n--print-metrics\n--quiet\n--reporting-interval\n--show-detailed-stats\n--socket-buffer-size\n--timeout\n--topic\n--version\n--yes'
}

_ottla_dump_log() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --files) _ottla_offer_files -f; return ;;
        --key-decoder-class) [[ $cur != -* ]] && { :; return; } ;;
        --max-bytes) :; return ;;
        --max-message-size) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --value-decoder-class) [[ $cur != -* ]] && { :; return; } ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--cluster-metadata-decoder\n--color\n--deep-iteration\n--files\n--help\n--index-sanity-check\n--key-decoder-class\n--max-bytes\n--max-message-size\n--offsets-decoder\n--output\n--print-data-log\n--quiet\n--remote-log-metadata-decoder\n--share-group-state-decoder\n--skip-record-metadata\n--transaction-log-decoder\n--value-decoder-class\n--verify-index-only\n--version\n--yes'
}

_ottla_e2e_latency() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --num-headers) [[ $cur != -* ]] && { :; return; } ;;
        --num-records) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --producer-acks) :; return ;;
        --record-header-key-size) [[ $cur != -* ]] && { :; return; } ;;
        --record-header-size) [[ $cur != -* ]] && { :; return; } ;;
        --record-key-size) [[ $cur != -* ]] && { :; return; } ;;
        --record-size) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
    esac
    [[ -n $after_equals ]] && return
    [[ $cur != -* ]] && { :; return; }
    _ottla_offer $'--bootstrap-server\n--color\n--command-config\n--help\n--num-headers\n--num-records\n--output\n--producer-acks\n--quiet\n--record-header-key-size\n--record-header-size\n--record-key-size\n--record-size\n--topic\n--version\n--yes'
}

_ottla_links() {
    local cur flag after_equals
    _ottla_words
    case $flag in
    esac
    [[ -n $after_equals ]] && return
    [[ $cur != -* ]] && { _ottla_offer_files -d; return; }
    _ottla_offer $''
}

_ottla_producer_perf_test() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --command-property) :; return ;;
        --num-records) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --payload-delimiter) :; return ;;
        --payload-file) _ottla_offer_files -f; return ;;
        --record-key-size) :; return ;;
        --record-size) :; return ;;
        --reporting-interval) :; return ;;
        --throughput) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
        --transaction-duration-ms) :; return ;;
        --transactional-id) :; return ;;
        --warmup-records) :; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--bootstrap-server\n--color\n--command-config\n--command-property\n--help\n--num-records\n--output\n--payload-delimiter\n--payload-file\n--payload-monotonic\n--print-metrics\n--quiet\n--record-key-size\n--record-size\n--reporting-interval\n--throughput\n--topic\n--transaction-duration-ms\n--transactional-id\n--version\n--warmup-records\n--yes'
}

_ottla_quickstart() {
    local cur flag after_equals
    _ottla_words
    case $flag in
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $''
}

_ottla_serve() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --config) _ottla_offer_files -f; return ;;
        --data) _ottla_offer_files -d; return ;;
        --listen) :; return ;;
        --log-format) _ottla_offer $'text\njson'; return ;;
        --override) :; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--config\n--data\n--ephemeral\n--listen\n--log-format\n--override'
}

_ottla_storage() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --add-scram) :; return ;;
        --cluster-id) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --config) _ottla_offer_files -f; return ;;
        --feature) :; return ;;
        --initial-controllers) :; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --release-version) :; return ;;
    esac
    [[ -n $after_equals ]] && return
    [[ $cur != -* ]] && { _ottla_offer $'info\nformat\nversion-mapping\nfeature-dependencies\nrandom-uuid'; return; }
    _ottla_offer $'--add-scram\n--cluster-id\n--color\n--config\n--feature\n--help\n--ignore-formatted\n--initial-controllers\n--no-initial-controllers\n--output\n--quiet\n--release-version\n--standalone\n--version\n--yes'
}

_ottla_topics() {
    local cur flag after_equals
    _ottla_words
    case $flag in
        --bootstrap-server) :; return ;;
        --color) _ottla_offer $'auto\nalways\nnever'; return ;;
        --command-config) _ottla_offer_files -f; return ;;
        --config) _ottla_offer $'cleanup.policy=\ncompression.gzip.level=\ncompression.lz4.level=\ncompression.type=\ncompression.zstd.level=\ndelete.retention.ms=\nfile.delete.delay.ms=\nflush.messages=\nflush.ms=\nfollower.replication.throttled.replicas=\nindex.interval.bytes=\nleader.replication.throttled.replicas=\nlocal.retention.bytes=\nlocal.retention.ms=\nmax.compaction.lag.ms=\nmax.message.bytes=\nmessage.timestamp.after.max.ms=\nmessage.timestamp.before.max.ms=\nmessage.timestamp.type=\nmin.cleanable.dirty.ratio=\nmin.compaction.lag.ms=\nmin.insync.replicas=\npreallocate=\nremote.log.copy.disable=\nremote.log.delete.on.disable=\nremote.storage.enable=\nretention.bytes=\nretention.ms=\nsegment.bytes=\nsegment.index.bytes=\nsegment.jitter.ms=\nsegment.ms=\nunclean.leader.election.enable='; compopt -o nospace 2>/dev/null; return ;;
        --output) _ottla_offer $'plain\ntable\njson'; return ;;
        --partition-size-limit-per-response) :; return ;;
        --partitions) :; return ;;
        --replica-assignment) :; return ;;
        --replication-factor) :; return ;;
        --timeout) :; return ;;
        --topic) _ottla_offer "$(_ottla_names topics)"; return ;;
        --topic-id) :; return ;;
    esac
    [[ -n $after_equals ]] && return
    _ottla_offer $'--alter\n--at-min-isr-partitions\n--bootstrap-server\n--color\n--command-config\n--config\n--create\n--delete\n--describe\n--dry-run\n--exclude-internal\n--help\n--if-exists\n--if-not-exists\n--list\n--output\n--partition-size-limit-per-response\n--partitions\n--quiet\n--replica-assignment\n--replication-factor\n--timeout\n--topic\n--topic-id\n--topics-with-overrides\n--unavailable-partitions\n--under-min-isr-partitions\n--under-replicated-partitions\n--version\n--yes'
}

_ottla() {
    if [[ $COMP_CWORD -eq 1 ]]; then
        local cur=${COMP_WORDS[1]}
        _ottla_offer $'check\ncompletion\nconsole-consumer\nconsole-producer\nconsumer-groups\nconsumer-perf-test\ndump-log\ne2e-latency\nlinks\nproducer-perf-test\nquickstart\nserve\nstorage\ntopics'
        return
    fi
    case ${COMP_WORDS[1]} in
        check) _ottla_check ;;
        completion) _ottla_completion ;;
        console-consumer|kafka-console-consumer) _ottla_console_consumer ;;
        console-producer|kafka-console-producer) _ottla_console_producer ;;
        consumer-groups|kafka-consumer-groups) _ottla_consumer_groups ;;
        consumer-perf-test|kafka-consumer-perf-test) _ottla_consumer_perf_test ;;
        dump-log|kafka-dump-log) _ottla_dump_log ;;
        e2e-latency|kafka-e2e-latency) _ottla_e2e_latency ;;
        links) _ottla_links ;;
        producer-perf-test|kafka-producer-perf-test) _ottla_producer_perf_test ;;
        quickstart) _ottla_quickstart ;;
        serve) _ottla_serve ;;
        storage|kafka-storage) _ottla_storage ;;
        topics|kafka-topics) _ottla_topics ;;
    esac
}

complete -F _ottla ottla
complete -F _ottla_console_consumer kafka-console-consumer kafka-console-consumer.sh
complete -F _ottla_console_producer kafka-console-producer kafka-console-producer.sh
complete -F _ottla_consumer_groups kafka-consumer-groups kafka-consumer-groups.sh
complete -F _ottla_consumer_perf_test kafka-consumer-perf-test kafka-consumer-perf-test.sh
complete -F _ottla_dump_log kafka-dump-log kafka-dump-log.sh
complete -F _ottla_e2e_latency kafka-e2e-latency kafka-e2e-latency.sh
complete -F _ottla_producer_perf_test kafka-producer-perf-test kafka-producer-perf-test.sh
complete -F _ottla_storage kafka-storage kafka-storage.sh
complete -F _ottla_topics kafka-topics kafka-topics.sh
