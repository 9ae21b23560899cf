package main

import (
	"encoding/base64"
	"strconv"

	"github.com/twmb/franz-go/pkg/kgo"
)

// event is the JSON of D.1.1 for records of one partition, without headers: one buffer, no reflection.
func event(address string, records []*kgo.Record) []byte {
	size := 200
	for _, record := range records {
		size += 200 + base64.StdEncoding.EncodedLen(len(record.Key)) + base64.StdEncoding.EncodedLen(len(record.Value))
	}
	first := records[0]
	start := `{"topic":"` + first.Topic + `","partition":` + strconv.Itoa(int(first.Partition)) + `,"offset":`
	out := make([]byte, 0, size)
	out = append(out, `{"eventSource":"SelfManagedKafka","bootstrapServers":"`...)
	out = append(out, address...)
	out = append(out, `","records":{"`...)
	out = append(out, first.Topic...)
	out = append(out, '-')
	out = strconv.AppendInt(out, int64(first.Partition), 10)
	out = append(out, `":[`...)
	for i, record := range records {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, start...)
		out = strconv.AppendInt(out, record.Offset, 10)
		out = append(out, `,"timestamp":`...)
		out = strconv.AppendInt(out, record.Timestamp.UnixMilli(), 10)
		out = append(out, `,"timestampType":"CREATE_TIME","key":"`...)
		out = base64.StdEncoding.AppendEncode(out, record.Key)
		out = append(out, `","value":"`...)
		out = base64.StdEncoding.AppendEncode(out, record.Value)
		out = append(out, `","headers":[]}`...)
	}
	return append(out, `]}}`...)
}
