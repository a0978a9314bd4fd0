# Completions for ottla and for Kafka's tools. Made by `ottla generate`, from the tools' own definitions.

$ottlaPrograms = [ordered]@{
    'check' = @{
        About = 'Look through data directories and say what is wrong in them'
        Operand = 'files'
        Flags = [ordered]@{
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--repair' = @{ Help = 'Do what recovery does after a crash to every log that needs it; the broker must not be running'; Values = $null }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'completion' = @{
        About = 'Print the script that completes commands in a shell'
        Operand = @('bash', 'zsh', 'fish', 'powershell')
        Flags = [ordered]@{
        }
    }
    'console-consumer' = @{
        About = 'Read records of topics and print them'
        Operand = $null
        Flags = [ordered]@{
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--command-property' = @{ Help = 'A property of the consumer, before those of --command-config; may be repeated'; Values = @() }
            '--exit-at-end' = @{ Help = 'End behind the records that there were at the start'; Values = $null }
            '--formatter' = @{ Help = 'What prints the records [default: DefaultMessageFormatter]'; Values = @() }
            '--formatter-config' = @{ Help = 'Properties file for the formatter; --formatter-property goes before it'; Values = 'files' }
            '--formatter-property' = @{ Help = 'A property of the formatter; may be repeated'; Values = @() }
            '--from' = @{ Help = 'Start at the first record of this moment or later'; Values = @() }
            '--from-beginning' = @{ Help = 'Start at the first record instead of behind the last; a group that has committed goes on from there'; Values = $null }
            '--group' = @{ Help = 'Read as a member of this consumer group, and commit what was printed'; Values = 'groups' }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--include' = @{ Help = 'All topics whose whole name matches, also those to come'; Values = @() }
            '--isolation-level' = @{ Help = 'read_committed leaves out records of open and aborted transactions [default: read_uncommitted]'; Values = @() }
            '--key-deserializer' = @{ Help = 'How to read keys, as by the formatter''s key.deserializer'; Values = @() }
            '--max-messages' = @{ Help = 'End after this many records'; Values = @() }
            '--offset' = @{ Help = 'Start --partition at this offset, or at ''earliest'' or ''latest'''; Values = @() }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--partition' = @{ Help = 'Only this partition of the topic'; Values = @() }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--skip-message-on-error' = @{ Help = 'Go on after a record that cannot be printed'; Values = $null }
            '--tail' = @{ Help = 'Start N records before the end of each partition'; Values = @() }
            '--timeout-ms' = @{ Help = 'End when no record came for this long'; Values = @() }
            '--to' = @{ Help = 'End where this moment is reached: print only records before it'; Values = @() }
            '--topic' = @{ Help = 'The topic'; Values = 'topics' }
            '--value-deserializer' = @{ Help = 'How to read values, as by the formatter''s value.deserializer'; Values = @() }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'console-producer' = @{
        About = 'Send records to a topic: each line of standard input is one'
        Operand = $null
        Flags = [ordered]@{
            '--batch-size' = @{ Help = 'The most bytes of a partition''s records to send together (batch.size)'; Values = @() }
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--command-property' = @{ Help = 'A property of the producer, before those of --command-config; may be repeated'; Values = @() }
            '--compression-codec' = @{ Help = 'none, gzip, snappy, lz4 or zstd; gzip if left out (compression.type)'; Values = @() }
            '--header' = @{ Help = 'A header added to every record; may be repeated'; Values = @() }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--input' = @{ Help = 'What standard input holds [default: lines]'; Values = @('lines', 'json') }
            '--key' = @{ Help = 'The key of every record'; Values = @() }
            '--max-block-ms' = @{ Help = 'How long to wait for metadata or for room in the buffer (max.block.ms)'; Values = @() }
            '--max-memory-bytes' = @{ Help = 'The buffer for records that are not sent yet (buffer.memory)'; Values = @() }
            '--message-send-max-retries' = @{ Help = 'How often a failed request is sent again (retries)'; Values = @() }
            '--metadata-expiry-ms' = @{ Help = 'When metadata is fetched again without a cause (metadata.max.age.ms)'; Values = @() }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--partition' = @{ Help = 'The partition of every record [default: by key, else spread]'; Values = @() }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--reader-config' = @{ Help = 'Properties file for the line reader; --reader-property goes before it'; Values = 'files' }
            '--reader-property' = @{ Help = 'How a line becomes a record, such as parse.key=true; may be repeated'; Values = @() }
            '--request-required-acks' = @{ Help = 'Who must have a record before it counts as sent: all, 1 (the leader) or 0 (acks)'; Values = @() }
            '--request-timeout-ms' = @{ Help = 'How long to wait for an answer (request.timeout.ms)'; Values = @() }
            '--retry-backoff-ms' = @{ Help = 'The pause before that (retry.backoff.ms)'; Values = @() }
            '--socket-buffer-size' = @{ Help = 'The send buffer of the sockets (send.buffer.bytes)'; Values = @() }
            '--sync' = @{ Help = 'Send one record at a time and wait for each'; Values = $null }
            '--timeout' = @{ Help = 'How long a record waits for others to be sent with (linger.ms)'; Values = @() }
            '--timestamp' = @{ Help = 'The timestamp of every record: milliseconds since 1970, a date and time, -2h [default: now]'; Values = @() }
            '--tombstone' = @{ Help = 'Send deletions: each line is a key, and the value is null (with --key: just one, without input)'; Values = $null }
            '--topic' = @{ Help = 'The topic to send to (with --input json: in place of the records'' own)'; Values = 'topics' }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'consumer-groups' = @{
        About = 'List, describe and delete consumer groups, and reset their offsets'
        Operand = $null
        Flags = [ordered]@{
            '--all-groups' = @{ Help = 'All groups'; Values = $null }
            '--all-topics' = @{ Help = 'With --reset-offsets: all topics that the group has offsets for'; Values = $null }
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--by-duration' = @{ Help = 'To the first record since so long ago: P1DT2H3M4S'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--delete' = @{ Help = 'Delete groups, with all their offsets'; Values = $null }
            '--delete-offsets' = @{ Help = 'Delete a group''s offsets for the topics that --topic names'; Values = $null }
            '--describe' = @{ Help = 'Show a group''s offsets and lag (or its --members, or its --state)'; Values = $null }
            '--dry-run' = @{ Help = 'Only show what would be done (the default of --reset-offsets)'; Values = $null }
            '--execute' = @{ Help = 'Do it'; Values = $null }
            '--export' = @{ Help = 'Print the new offsets as CSV, which --from-file reads'; Values = $null }
            '--from-file' = @{ Help = 'To what a CSV file says: lines of TOPIC,PARTITION,OFFSET or GROUP,TOPIC,PARTITION,OFFSET'; Values = 'files' }
            '--group' = @{ Help = 'The group; may be repeated'; Values = 'groups' }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--list' = @{ Help = 'List the groups'; Values = $null }
            '--members' = @{ Help = 'With --describe: the members and how many partitions each has'; Values = $null }
            '--offsets' = @{ Help = 'With --describe: offsets and lag of each partition (the default)'; Values = $null }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--reset-offsets' = @{ Help = 'Set a group''s offsets; the group must have no members'; Values = $null }
            '--shift-by' = @{ Help = 'By so many offsets forward, or back when negative'; Values = @() }
            '--state' = @{ Help = 'With --describe: the group''s state. With --list: show states, or only groups in these'; Values = @('Stable', 'Empty', 'PreparingRebalance', 'CompletingRebalance', 'Dead') }
            '--timeout' = @{ Help = 'The most time a call may take, in milliseconds [default: 30000]'; Values = @() }
            '--to-current' = @{ Help = 'To the offset committed now'; Values = $null }
            '--to-datetime' = @{ Help = 'To the first record since a moment'; Values = @() }
            '--to-earliest' = @{ Help = 'To the first offset there is'; Values = $null }
            '--to-latest' = @{ Help = 'To the end'; Values = $null }
            '--to-offset' = @{ Help = 'To this offset'; Values = @() }
            '--topic' = @{ Help = 'The topic; may be repeated. With --reset-offsets and --delete-offsets also TOPIC:0,1,2 for some partitions'; Values = 'topics' }
            '--type' = @{ Help = 'With --list: show types, or only groups of these (classic, consumer)'; Values = @('classic', 'consumer') }
            '--validate-regex' = @{ Help = 'Say whether an expression is valid for subscriptions (RE2''s syntax); needs no cluster'; Values = @() }
            '--verbose' = @{ Help = 'With --describe: more columns (epochs, assignments)'; Values = $null }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--watch' = @{ Help = 'With --describe: show it again every so often, with rates [default: 2]'; Values = @() }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'consumer-perf-test' = @{
        About = 'Measure how many records a second a consumer reads'
        Operand = $null
        Flags = [ordered]@{
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--command-property' = @{ Help = 'A property of the consumer, before those of --command-config; may be repeated'; Values = @() }
            '--date-format' = @{ Help = 'How to print moments, as Java''s SimpleDateFormat [default: yyyy-MM-dd HH:mm:ss:SSS]'; Values = @() }
            '--fetch-size' = @{ Help = 'The most to fetch of a partition at once (max.partition.fetch.bytes) [default: 1048576]'; Values = @() }
            '--from-latest' = @{ Help = 'A group without offsets begins behind the last records instead of before the first'; Values = $null }
            '--group' = @{ Help = 'The group to read in [default: one of its own]'; Values = 'groups' }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--hide-header' = @{ Help = 'No line with the names of the columns'; Values = $null }
            '--include' = @{ Help = 'The topics to read, instead of --topic'; Values = @() }
            '--num-records' = @{ Help = 'How many records to read'; Values = @() }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--print-metrics' = @{ Help = 'Print what was counted under the names of Kafka''s metrics at the end'; Values = $null }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--reporting-interval' = @{ Help = 'How often to say how it goes [default: 5000]'; Values = @() }
            '--show-detailed-stats' = @{ Help = 'A line every --reporting-interval instead of one at the end'; Values = $null }
            '--socket-buffer-size' = @{ Help = 'The receive buffer of the sockets (receive.buffer.bytes) [default: 2097152]'; Values = @() }
            '--timeout' = @{ Help = 'End when no record has come for so long [default: 10000]'; Values = @() }
            '--topic' = @{ Help = 'The topic to read'; Values = 'topics' }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'dump-log' = @{
        About = 'Show what is in the files of a log: segments, indexes, snapshots'
        Operand = $null
        Flags = [ordered]@{
            '--cluster-metadata-decoder' = @{ Help = 'The log is of __cluster_metadata, or the file is one of its snapshots'; Values = $null }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--deep-iteration' = @{ Help = 'List the records of each batch; --print-data-log implies it'; Values = $null }
            '--files' = @{ Help = 'The files: .log, .index, .timeindex, .txnindex, .snapshot, .checkpoint'; Values = 'files' }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--index-sanity-check' = @{ Help = 'Check an index as a broker does when it starts, without printing it'; Values = $null }
            '--key-decoder-class' = @{ Help = 'How keys are read: StringDecoder (the default), IntegerDecoder, LongDecoder, DefaultDecoder'; Values = @() }
            '--max-bytes' = @{ Help = 'Read only so many bytes of each .log file'; Values = @() }
            '--max-message-size' = @{ Help = 'The largest batch that is looked for at an index entry [default: 5242880]'; Values = @() }
            '--offsets-decoder' = @{ Help = 'The log is of __consumer_offsets'; Values = $null }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--print-data-log' = @{ Help = 'Print the records'' keys and values too; every decoder implies it'; Values = $null }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--remote-log-metadata-decoder' = @{ Help = 'The log is of __remote_log_metadata'; Values = $null }
            '--share-group-state-decoder' = @{ Help = 'The log is of __share_group_state'; Values = $null }
            '--skip-record-metadata' = @{ Help = 'Of each record print only what is in it; leaves control records out'; Values = $null }
            '--transaction-log-decoder' = @{ Help = 'The log is of __transaction_state'; Values = $null }
            '--value-decoder-class' = @{ Help = 'How values are read, as --key-decoder-class'; Values = @() }
            '--verify-index-only' = @{ Help = 'Compare an index with its log without printing it'; Values = $null }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'e2e-latency' = @{
        About = 'Measure how long a record takes from a producer to a consumer, one at a time'
        Operand = @()
        Flags = [ordered]@{
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--num-headers' = @{ Help = 'How many headers it has [default: 0]'; Values = @() }
            '--num-records' = @{ Help = 'How many records to send'; Values = @() }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--producer-acks' = @{ Help = 'Who must have a record before it counts as sent: 1 (the leader) or all'; Values = @() }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--record-header-key-size' = @{ Help = 'The size of a header''s key [default: 0]'; Values = @() }
            '--record-header-size' = @{ Help = 'The size of a header''s value; -1 for null [default: 0]'; Values = @() }
            '--record-key-size' = @{ Help = 'The size of its key [default: 0]'; Values = @() }
            '--record-size' = @{ Help = 'The size of a record''s value'; Values = @() }
            '--topic' = @{ Help = 'The topic to send to and read from; it is created if it is not there'; Values = 'topics' }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'links' = @{
        About = 'Make links named as Kafka''s tools in a directory'
        Operand = 'files'
        Flags = [ordered]@{
        }
    }
    'producer-perf-test' = @{
        About = 'Measure how many records a second a producer sends, and how long they take'
        Operand = $null
        Flags = [ordered]@{
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--command-property' = @{ Help = 'Properties of the producer, before those of --command-config, such as acks=1 linger.ms=10'; Values = @() }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--num-records' = @{ Help = 'How many records to send'; Values = @() }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--payload-delimiter' = @{ Help = 'What stands between the records in the file [default: end of line]'; Values = @() }
            '--payload-file' = @{ Help = 'Records drawn from this file'; Values = 'files' }
            '--payload-monotonic' = @{ Help = 'Numbers from 0'; Values = $null }
            '--print-metrics' = @{ Help = 'Print what was counted under the names of Kafka''s metrics at the end'; Values = $null }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--record-key-size' = @{ Help = 'Random letters as the key, so many a record [default: no key]'; Values = @() }
            '--record-size' = @{ Help = 'Random letters, so many a record'; Values = @() }
            '--reporting-interval' = @{ Help = 'How often to say how it goes [default: 5000]'; Values = @() }
            '--throughput' = @{ Help = 'How many to send a second; -1: as many as possible [default: -1]'; Values = @() }
            '--topic' = @{ Help = 'The topic to send to'; Values = 'topics' }
            '--transaction-duration-ms' = @{ Help = 'Send in transactions and commit so often [default: 3000]'; Values = @() }
            '--transactional-id' = @{ Help = 'Send in transactions with this id'; Values = @() }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--warmup-records' = @{ Help = 'So many records first, which a second summary leaves out [default: 0]'; Values = @() }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'quickstart' = @{
        About = 'See a broker and the tools at work, on a free port and without leaving a trace'
        Operand = $null
        Flags = [ordered]@{
        }
    }
    'serve' = @{
        About = 'Run a Kafka broker (and its controller) on this machine'
        Operand = $null
        Flags = [ordered]@{
            '--config' = @{ Help = 'Read Kafka''s server.properties; what the other options say goes first'; Values = 'files' }
            '--data' = @{ Help = 'Keep the data here (log.dirs); formatted when new'; Values = 'files' }
            '--ephemeral' = @{ Help = 'Keep the data in a temporary directory that is removed at the end'; Values = $null }
            '--listen' = @{ Help = 'Listen here (default: localhost:9092); port 0 takes a free one and prints it'; Values = @() }
            '--log-format' = @{ Help = 'Write log messages as lines of text (the default) or as one JSON object a line'; Values = @('text', 'json') }
            '--override' = @{ Help = 'Set one property, over the file and the other options; may be repeated'; Values = @() }
        }
    }
    'storage' = @{
        About = 'Format the directories of a node, or look at them: info, format, version-mapping, feature-dependencies, random-uuid'
        Operand = @('info', 'format', 'version-mapping', 'feature-dependencies', 'random-uuid')
        Flags = [ordered]@{
            '--add-scram' = @{ Help = 'A user to begin with: name, password, and perhaps salt, iterations, saltedpassword; may be repeated (format; -S)'; Values = @() }
            '--cluster-id' = @{ Help = 'The cluster that the node belongs to (format; -t)'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--config' = @{ Help = 'The node''s server.properties (info, format; -c)'; Values = 'files' }
            '--feature' = @{ Help = 'A feature''s level; may be repeated (format, feature-dependencies; -f)'; Values = @() }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--ignore-formatted' = @{ Help = 'Leave directories alone that are formatted (format; -g)'; Values = $null }
            '--initial-controllers' = @{ Help = 'The voters of a new quorum, the same on every node (format; -I)'; Values = @() }
            '--no-initial-controllers' = @{ Help = 'The voters of the quorum are known elsewhere (format; -N)'; Values = $null }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--release-version' = @{ Help = 'The release whose feature levels to take (format, version-mapping; -r)'; Values = @() }
            '--standalone' = @{ Help = 'The node is the only voter of a new quorum (format; -s)'; Values = $null }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
    'topics' = @{
        About = 'Create, list, describe, alter and delete topics'
        Operand = $null
        Flags = [ordered]@{
            '--alter' = @{ Help = 'Add partitions to a topic (its configs are changed with kafka-configs)'; Values = $null }
            '--at-min-isr-partitions' = @{ Help = 'Only partitions with exactly min.insync.replicas in-sync replicas'; Values = $null }
            '--bootstrap-server' = @{ Help = 'The brokers to connect to first'; Values = @() }
            '--color' = @{ Help = 'Colour the output [default: auto]'; Values = @('auto', 'always', 'never') }
            '--command-config' = @{ Help = 'Properties file with client settings (security, timeouts), as for Kafka''s clients'; Values = 'files' }
            '--config' = @{ Help = 'A config of the topic to create; may be repeated'; Values = @('cleanup.policy=', 'compression.gzip.level=', 'compression.lz4.level=', 'compression.type=', 'compression.zstd.level=', 'delete.retention.ms=', 'file.delete.delay.ms=', 'flush.messages=', 'flush.ms=', 'follower.replication.throttled.replicas=', 'index.interval.bytes=', 'leader.replication.throttled.replicas=', 'local.retention.bytes=', 'local.retention.ms=', 'max.compaction.lag.ms=', 'max.message.bytes=', 'message.timestamp.after.max.ms=', 'message.timestamp.before.max.ms=', 'message.timestamp.type=', 'min.cleanable.dirty.ratio=', 'min.compaction.lag.ms=', 'min.insync.replicas=', 'preallocate=', 'remote.log.copy.disable=', 'remote.log.delete.on.disable=', 'remote.storage.enable=', 'retention.bytes=', 'retention.ms=', 'segment.bytes=', 'segment.index.bytes=', 'segment.jitter.ms=', 'segment.ms=', 'unclean.leader.election.enable=') }
            '--create' = @{ Help = 'Create a topic'; Values = $null }
            '--delete' = @{ Help = 'Delete topics'; Values = $null }
            '--describe' = @{ Help = 'Show partitions, leaders, replicas and configs'; Values = $null }
            '--dry-run' = @{ Help = 'Check with the cluster what --create, --alter or --delete would do, and change nothing'; Values = $null }
            '--exclude-internal' = @{ Help = 'Leave out Kafka''s own topics when listing or describing'; Values = $null }
            '--help' = @{ Help = 'Print this help'; Values = $null }
            '--if-exists' = @{ Help = 'With --alter, --delete, --describe: a topic that does not exist is no error'; Values = $null }
            '--if-not-exists' = @{ Help = 'With --create: a topic that exists already is no error'; Values = $null }
            '--list' = @{ Help = 'List the topics, or those that --topic names'; Values = $null }
            '--output' = @{ Help = 'How to print the result: Kafka''s text, a table, or JSON [default: a table on a terminal, else plain]'; Values = @('plain', 'table', 'json') }
            '--partition-size-limit-per-response' = @{ Help = 'The most partitions to ask for at once [default: 2000]'; Values = @() }
            '--partitions' = @{ Help = 'The number of partitions [default with --create: the cluster''s num.partitions]'; Values = @() }
            '--quiet' = @{ Help = 'No progress and no notices on standard error'; Values = $null }
            '--replica-assignment' = @{ Help = 'The brokers of each partition, in place of the two above'; Values = @() }
            '--replication-factor' = @{ Help = 'The number of replicas of each partition [default: the cluster''s default.replication.factor]'; Values = @() }
            '--timeout' = @{ Help = 'The most time the call may take, in milliseconds [default: default.api.timeout.ms]'; Values = @() }
            '--topic' = @{ Help = 'The topic'; Values = 'topics' }
            '--topic-id' = @{ Help = 'The id of the topic to describe'; Values = @() }
            '--topics-with-overrides' = @{ Help = 'Only topics with configs of their own, without their partitions'; Values = $null }
            '--unavailable-partitions' = @{ Help = 'Only partitions without a live leader'; Values = $null }
            '--under-min-isr-partitions' = @{ Help = 'Only partitions with fewer in-sync replicas than min.insync.replicas'; Values = $null }
            '--under-replicated-partitions' = @{ Help = 'Only partitions with fewer in-sync replicas than replicas'; Values = $null }
            '--version' = @{ Help = 'Print the version of Kafka that this tool is compatible with'; Values = $null }
            '--yes' = @{ Help = 'Do not ask before deleting or overwriting'; Values = $null }
        }
    }
}

Register-ArgumentCompleter -Native -CommandName 'ottla', 'kafka-console-consumer', 'kafka-console-producer', 'kafka-consumer-groups', 'kafka-consumer-perf-test', 'kafka-dump-log', 'kafka-e2e-latency', 'kafka-producer-perf-test', 'kafka-storage', 'kafka-topics' -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $offer = {
        param($candidates, $prefix, $word)
        foreach ($candidate in $candidates) {
            if ($candidate -like "$word*") {
                [System.Management.Automation.CompletionResult]::new("$prefix$candidate", $candidate, 'ParameterValue', $candidate)
            }
        }
    }
    $words = @($commandAst.CommandElements | Where-Object { $_.Extent.EndOffset -le $cursorPosition } | ForEach-Object { $_.ToString() })
    if ($wordToComplete -ne '' -and $words.Count -gt 1) { $words = @($words[0..($words.Count - 2)]) }
    $noun = [System.IO.Path]::GetFileNameWithoutExtension($words[0]) -replace '^kafka-', ''
    if ($noun -eq 'ottla') {
        if ($words.Count -eq 1) {
            foreach ($name in $ottlaPrograms.Keys) {
                if ($name -like "$wordToComplete*") {
                    [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $ottlaPrograms[$name].About)
                }
            }
            return
        }
        $noun = $words[1] -replace '^kafka-', ''
    }
    $program = $ottlaPrograms[$noun]
    if ($null -eq $program) { return }
    $flag = $words[-1]
    $prefix = ''
    if ($wordToComplete -match '^(--[^=]+=)(.*)$') {
        $prefix = $Matches[1]
        $flag = $prefix.TrimEnd('=')
        $wordToComplete = $Matches[2]
    }
    $values = $null
    if ($program.Flags.Contains($flag)) { $values = $program.Flags[$flag].Values }
    elseif (-not $wordToComplete.StartsWith('-')) { $values = $program.Operand }
    if ($null -ne $values) {
        if ($values -is [string] -and $values -eq 'files') { return }
        if ($values -is [string]) {
            $line = $commandAst.ToString()
            $values = @(ottla complete $values $line 2>$null)
        }
        & $offer $values $prefix $wordToComplete
        return
    }
    foreach ($name in $program.Flags.Keys) {
        if ($name -like "$wordToComplete*") {
            [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterName', $program.Flags[$name].Help)
        }
    }
}
