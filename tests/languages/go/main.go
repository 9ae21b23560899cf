// A handler as a person would write it with AWS's library, for tests/unit/test_go.py.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-lambda-go/lambda"
	"github.com/aws/aws-lambda-go/lambdacontext"
)

var calls int

type myError struct{ text string }

func (e *myError) Error() string { return e.text }

func handle(ctx context.Context, event json.RawMessage) (any, error) {
	calls++
	var what string
	if json.Unmarshal(event, &what) != nil {
		return event, nil
	}
	switch what {
	case "count":
		return calls, nil
	case "nothing":
		return nil, nil
	case "error":
		return nil, errors.New("text")
	case "my error":
		return nil, &myError{"mine"}
	case "panic":
		panic("unexpected")
	case "exit":
		os.Exit(3)
	case "sleep":
		time.Sleep(time.Minute)
	case "stream":
		return strings.NewReader(`"from a reader"`), nil
	case "print":
		fmt.Println("printed")
	case "context":
		known, _ := lambdacontext.FromContext(ctx)
		deadline, _ := ctx.Deadline()
		return map[string]any{
			"id":        known.AwsRequestID,
			"arn":       known.InvokedFunctionArn,
			"custom":    known.ClientContext.Custom,
			"remaining": time.Until(deadline).Milliseconds(),
			"function":  lambdacontext.FunctionName,
			"memory":    lambdacontext.MemoryLimitInMB,
		}, nil
	}
	return what, nil
}

func main() { lambda.Start(handle) }
