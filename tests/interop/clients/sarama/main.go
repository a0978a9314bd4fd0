// Sarama: produce BOOTSTRAP TOPIC CODEC < key<TAB>value lines; consume BOOTSTRAP TOPIC COUNT > partition, offset, key, value.
package main

import (
	"bufio"
	"bytes"
	"fmt"
	"log"
	"os"
	"strconv"

	"github.com/IBM/sarama"
)

func main() {
	verb, bootstrap, topic, last := os.Args[1], os.Args[2], os.Args[3], os.Args[4]
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	if verb == "produce" {
		config.Producer.RequiredAcks = sarama.WaitForAll
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
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
