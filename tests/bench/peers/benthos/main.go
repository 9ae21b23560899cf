// Benthos with its own `subprocess` processor, fed by an input of ours on franz-go: the fastest peer that does this job.
//
// The Connect distribution with its Kafka inputs is another program; this one is Benthos v4 with its pure and io
// components only. It prints `polling` when its input is connected, and ends on SIGTERM.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	_ "github.com/redpanda-data/benthos/v4/public/components/io"
	_ "github.com/redpanda-data/benthos/v4/public/components/pure"
	"github.com/redpanda-data/benthos/v4/public/service"
)

func main() {
	config := flag.String("config", "", "file with the stream's configuration")
	flag.Parse()
	if err := run(*config); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	builder := service.NewStreamBuilder()
	if err := builder.SetYAML(string(content)); err != nil {
		return err
	}
	stream, err := builder.Build()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := stream.Run(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}
