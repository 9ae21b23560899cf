package main

import (
	"context"
	"fmt"
	"time"

	"github.com/redpanda-data/benthos/v4/public/service"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Once a second, as all that are measured.
const commitInterval = time.Second

func init() {
	spec := service.NewConfigSpec().
		Summary("A member of a consumer group that hands out full batches of one partition each.").
		Fields(
			service.NewStringField("address"),
			service.NewStringField("topic"),
			service.NewStringField("group"),
			service.NewIntField("batch_size"),
			service.NewBoolField("whole_event").
				Description("One message that is the event's JSON, built here; else a message per record with metadata."),
		)
	service.MustRegisterBatchInput("franz", spec, func(parsed *service.ParsedConfig, _ *service.Resources) (service.BatchInput, error) {
		input := &franz{waiting: map[int32][]*kgo.Record{}}
		var err error
		if input.address, err = parsed.FieldString("address"); err != nil {
			return nil, err
		}
		if input.topic, err = parsed.FieldString("topic"); err != nil {
			return nil, err
		}
		if input.group, err = parsed.FieldString("group"); err != nil {
			return nil, err
		}
		if input.size, err = parsed.FieldInt("batch_size"); err != nil {
			return nil, err
		}
		if input.whole, err = parsed.FieldBool("whole_event"); err != nil {
			return nil, err
		}
		return input, nil
	})
}

// franz reads a topic from its beginning. One goroutine calls ReadBatch; acknowledgements come from others.
type franz struct {
	address, topic, group string
	size                  int
	whole                 bool

	client  *kgo.Client
	waiting map[int32][]*kgo.Record
	full    [][]*kgo.Record
}

func (f *franz) Connect(context.Context) error {
	client, err := kgo.NewClient(
		kgo.SeedBrokers(f.address),
		kgo.ConsumerGroup(f.group),
		kgo.ConsumeTopics(f.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(commitInterval),
	)
	if err != nil {
		return err
	}
	f.client = client
	fmt.Println("polling")
	return nil
}

func (f *franz) ReadBatch(ctx context.Context) (service.MessageBatch, service.AckFunc, error) {
	for len(f.full) == 0 {
		fetches := f.client.PollFetches(ctx)
		if err := ctx.Err(); err != nil {
			return nil, nil, err
		}
		if err := fetches.Err(); err != nil {
			return nil, nil, err
		}
		fetches.EachPartition(func(partition kgo.FetchTopicPartition) {
			records := append(f.waiting[partition.Partition], partition.Records...)
			for len(records) >= f.size {
				f.full = append(f.full, records[:f.size:f.size])
				records = records[f.size:]
			}
			f.waiting[partition.Partition] = records
		})
	}
	records := f.full[0]
	f.full = f.full[1:]
	return f.messages(records), func(_ context.Context, err error) error {
		if err == nil {
			f.client.MarkCommitRecords(records[len(records)-1])
		}
		return err
	}, nil
}

func (f *franz) messages(records []*kgo.Record) service.MessageBatch {
	if f.whole {
		return service.MessageBatch{service.NewMessage(event(f.address, records))}
	}
	batch := make(service.MessageBatch, len(records))
	for i, record := range records {
		// Names as those of the Kafka inputs that people use.
		message := service.NewMessage(record.Value)
		message.MetaSetMut("kafka_topic", record.Topic)
		message.MetaSetMut("kafka_partition", int(record.Partition))
		message.MetaSetMut("kafka_offset", int(record.Offset))
		message.MetaSetMut("kafka_timestamp_ms", record.Timestamp.UnixMilli())
		message.MetaSetMut("kafka_key", record.Key)
		batch[i] = message
	}
	return batch
}

func (f *franz) Close(context.Context) error {
	if f.client != nil {
		f.client.Close()
	}
	return nil
}
