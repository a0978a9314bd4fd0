// Sarama; the verbs are those of aiokafka_client.py.
package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/IBM/sarama"
)

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

// A transaction for each thousand lines; every third is aborted and made again.
func transact(config *sarama.Config, bootstrap, topic string) {
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Transaction.ID = "sarama-" + topic
	config.Producer.Transaction.Retry.Max = 200
	config.Producer.Return.Successes = true
	producer, err := sarama.NewSyncProducer([]string{bootstrap}, config)
	must(err)
	send := func(messages []*sarama.ProducerMessage, commit bool) {
		must(producer.BeginTxn())
		fresh := make([]*sarama.ProducerMessage, len(messages))
		for i, m := range messages {
			fresh[i] = &sarama.ProducerMessage{Topic: topic, Key: m.Key, Value: m.Value}
		}
		must(producer.SendMessages(fresh))
		if commit {
			must(producer.CommitTxn())
		} else {
			must(producer.AbortTxn())
		}
	}
	lines, number := bufio.NewScanner(os.Stdin), 0
	var batch []*sarama.ProducerMessage
	for lines.Scan() {
		key, value, _ := bytes.Cut(bytes.Clone(lines.Bytes()), []byte("\t"))
		batch = append(batch, &sarama.ProducerMessage{Key: sarama.ByteEncoder(key), Value: sarama.ByteEncoder(value)})
		if len(batch) == 1000 {
			if number%3 == 2 {
				send(batch, false)
			}
			send(batch, true)
			batch, number = nil, number+1
		}
	}
	if len(batch) > 0 {
		send(batch, true)
	}
	must(producer.Close())
}

// What a member of the group reads, until there is enough.
type member struct {
	next chan *sarama.ConsumerMessage
}

func (m *member) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (m *member) Cleanup(sarama.ConsumerGroupSession) error { return nil }
func (m *member) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for message := range claim.Messages() {
		select {
		case m.next <- message:
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
	return nil
}

func group(config *sarama.Config, bootstrap, topic, name string, count int) {
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Offsets.AutoCommit.Enable = true
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	consumers, err := sarama.NewConsumerGroup([]string{bootstrap}, name, config)
	must(err)
	background, cancel := context.WithCancel(context.Background())
	m := &member{next: make(chan *sarama.ConsumerMessage)}
	go func() {
		for background.Err() == nil {
			_ = consumers.Consume(background, []string{topic}, m)
		}
	}()
	out := bufio.NewWriter(os.Stdout)
	for ; count > 0; count-- {
		message := <-m.next
		fmt.Fprintf(out, "%d\t%d\t%s\t%s\n", message.Partition, message.Offset, message.Key, message.Value)
	}
	must(out.Flush())
	cancel()
	must(consumers.Close())
}

func admin(config *sarama.Config, bootstrap, topic string) {
	client, err := sarama.NewClusterAdmin([]string{bootstrap}, config)
	must(err)
	retention, segment := "12345000", "7654000"
	must(client.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: 2, ReplicationFactor: 1, ConfigEntries: map[string]*string{"retention.ms": &retention}}, false))
	must(client.CreatePartitions(topic, 3, nil, false))
	must(client.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{
		"segment.ms": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &segment}}, false))
	time.Sleep(300 * time.Millisecond)
	described, err := client.DescribeTopics([]string{topic})
	must(err)
	fmt.Println("partitions", len(described[0].Partitions))
	configs, err := client.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	must(err)
	for _, entry := range configs {
		if entry.Name == "retention.ms" || entry.Name == "segment.ms" {
			fmt.Println(entry.Name, entry.Value)
		}
	}
	listed := func() string {
		topics, err := client.ListTopics()
		must(err)
		if _, found := topics[topic]; found {
			return "True"
		}
		return "False"
	}
	fmt.Println("listed", listed())
	must(client.DeleteTopic(topic))
	time.Sleep(300 * time.Millisecond)
	fmt.Println("listed", listed())
	must(client.Close())
}

func main() {
	verb, bootstrap, topic, last := os.Args[1], os.Args[2], os.Args[3], ""
	if len(os.Args) > 4 {
		last = os.Args[4]
	}
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Net.MaxOpenRequests = 1
	config.Producer.Idempotent = verb == "produce" || verb == "transact"
	config.Producer.Retry.Max = 1000
	config.Metadata.Retry.Max = 1000
	switch verb {
	case "transact":
		config.Producer.RequiredAcks = sarama.WaitForAll
		transact(config, bootstrap, topic)
		return
	case "admin":
		admin(config, bootstrap, topic)
		return
	case "group":
		count, _ := strconv.Atoi(last)
		group(config, bootstrap, topic, os.Args[5], count)
		return
	}
	if verb == "produce" {
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Return.Successes = true
		config.Producer.Flush.Messages = 2000
		config.Producer.Flush.Frequency = 20_000_000
		if err := config.Producer.Compression.UnmarshalText([]byte(last)); err != nil {
			log.Fatal(err)
		}
		producer, err := sarama.NewAsyncProducer([]string{bootstrap}, config)
		if err != nil {
			log.Fatal(err)
		}
		done := make(chan struct{})
		go func() {
			for range producer.Successes() {
			}
			close(done)
		}()
		go func() {
			for err := range producer.Errors() {
				log.Fatal(err)
			}
		}()
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			key, value, _ := bytes.Cut(bytes.Clone(lines.Bytes()), []byte("\t"))
			producer.Input() <- &sarama.ProducerMessage{Topic: topic, Key: sarama.ByteEncoder(key), Value: sarama.ByteEncoder(value)}
		}
		producer.AsyncClose()
		<-done
		return
	}
	config.Consumer.IsolationLevel = sarama.ReadCommitted
	count, _ := strconv.Atoi(last)
	consumer, err := sarama.NewConsumer([]string{bootstrap}, config)
	if err != nil {
		log.Fatal(err)
	}
	partitions, err := consumer.Partitions(topic)
	if err != nil {
		log.Fatal(err)
	}
	messages := make(chan *sarama.ConsumerMessage, 10000)
	for _, p := range partitions {
		partition, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			for message := range partition.Messages() {
				messages <- message
			}
		}()
	}
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for ; count > 0; count-- {
		m := <-messages
		fmt.Fprintf(out, "%d\t%d\t%s\t%s\n", m.Partition, m.Offset, m.Key, m.Value)
	}
}
