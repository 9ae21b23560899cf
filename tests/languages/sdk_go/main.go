// Calls of the AWS SDK for Go against a service; prints what came of them as one JSON object (test_sdks.py).
// AWS_ENDPOINT_URL_LAMBDA says where the service is; the argument is a zip with a handler app.handler.
package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

var ctx = context.Background()

func must[T any](answer T, err error) T {
	if err != nil {
		panic(err)
	}
	return answer
}

func refused[T any](_ T, err error) []any {
	var api smithy.APIError
	var answer *smithyhttp.ResponseError
	if !errors.As(err, &api) || !errors.As(err, &answer) {
		return nil
	}
	reason := ""
	var throttled *types.TooManyRequestsException
	if errors.As(err, &throttled) {
		reason = string(throttled.Reason)
	}
	return []any{answer.HTTPStatusCode(), api.ErrorCode(), api.ErrorMessage(), reason}
}

func member(payload []byte, name string) any {
	object := map[string]any{}
	must(0, json.Unmarshal(payload, &object))
	return object[name]
}

func streamed(client *lambda.Client, name string) []any {
	input := &lambda.InvokeWithResponseStreamInput{FunctionName: &name, Payload: []byte("[1]")}
	stream := must(client.InvokeWithResponseStream(ctx, input)).GetStream()
	defer stream.Close()
	seen := []any{}
	for event := range stream.Events() {
		switch event := event.(type) {
		case *types.InvokeWithResponseStreamResponseEventMemberPayloadChunk:
			seen = append(seen, string(event.Value.Payload))
		case *types.InvokeWithResponseStreamResponseEventMemberInvokeComplete:
			if event.Value.ErrorCode != nil {
				seen = append(seen, *event.Value.ErrorCode)
			} else {
				seen = append(seen, "complete")
			}
		}
	}
	must(0, stream.Err())
	return seen
}

func main() {
	loaded := must(config.LoadDefaultConfig(ctx, config.WithRetryMaxAttempts(1)))
	client := lambda.NewFromConfig(loaded)
	seen := map[string]any{}

	pages := [][]string{}
	paginator := lambda.NewListFunctionsPaginator(client, &lambda.ListFunctionsInput{MaxItems: aws.Int32(2)})
	for paginator.HasMorePages() {
		names := []string{}
		for _, each := range must(paginator.NextPage(ctx)).Functions {
			names = append(names, *each.FunctionName)
		}
		pages = append(pages, names)
	}
	seen["pages"] = pages

	invoke := func(input lambda.InvokeInput) *lambda.InvokeOutput { return must(client.Invoke(ctx, &input)) }
	echo := invoke(lambda.InvokeInput{FunctionName: aws.String("echo"), Payload: []byte(`{"a":1}`), LogType: types.LogTypeTail})
	seen["echo"] = []any{echo.StatusCode, *echo.ExecutedVersion, string(echo.Payload)}
	tail := must(base64.StdEncoding.DecodeString(*echo.LogResult))
	seen["tail"] = strings.HasPrefix(string(tail), "START RequestId: ")
	raised := invoke(lambda.InvokeInput{FunctionName: aws.String("raises"), Payload: []byte("{}")})
	seen["raised"] = []any{raised.StatusCode, *raised.FunctionError, member(raised.Payload, "errorMessage")}
	seen["event"] = invoke(lambda.InvokeInput{FunctionName: aws.String("echo"), InvocationType: types.InvocationTypeEvent, Payload: []byte("{}")}).StatusCode
	seen["dry"] = invoke(lambda.InvokeInput{FunctionName: aws.String("echo"), InvocationType: types.InvocationTypeDryRun}).StatusCode
	seen["streamed"] = streamed(client, "echo")
	seen["failed"] = streamed(client, "raises")

	seen["missing"] = refused(client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("nobody")}))
	seen["throttled"] = refused(client.Invoke(ctx, &lambda.InvokeInput{FunctionName: aws.String("zero")}))
	seen["range"] = refused(client.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{FunctionName: aws.String("echo"), Timeout: aws.Int32(901)}))[:2]
	seen["unbuilt"] = refused(client.ListCodeSigningConfigs(ctx, &lambda.ListCodeSigningConfigsInput{}))[:2]

	name := aws.String("made")
	made := must(client.CreateFunction(ctx, &lambda.CreateFunctionInput{
		FunctionName: name,
		Role:         aws.String("arn:aws:iam::123456789012:role/any"),
		Code:         &types.FunctionCode{ZipFile: must(os.ReadFile(os.Args[1]))},
		Runtime:      types.Runtime("python3.13"),
		Handler:      aws.String("app.handler"),
	}))
	seen["created"] = made.State
	must(0, lambda.NewFunctionActiveV2Waiter(client).Wait(ctx, &lambda.GetFunctionInput{FunctionName: name}, 20*time.Second))
	version := must(client.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: name})).Version
	must(client.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: name, Name: aws.String("live"), FunctionVersion: version}))
	live := invoke(lambda.InvokeInput{FunctionName: name, Qualifier: aws.String("live")})
	seen["live"] = []any{*live.ExecutedVersion, member(live.Payload, "code")}
	must(client.PutFunctionEventInvokeConfig(ctx, &lambda.PutFunctionEventInvokeConfigInput{FunctionName: name, MaximumRetryAttempts: aws.Int32(1)}))
	stored := must(client.GetFunctionEventInvokeConfig(ctx, &lambda.GetFunctionEventInvokeConfigInput{FunctionName: name}))
	seen["config"] = []any{*stored.MaximumRetryAttempts, !stored.LastModified.IsZero()}
	url := must(client.CreateFunctionUrlConfig(ctx, &lambda.CreateFunctionUrlConfigInput{FunctionName: name, AuthType: types.FunctionUrlAuthTypeNone}))
	answer := must(http.Get(*url.FunctionUrl))
	seen["url"] = member(must(io.ReadAll(answer.Body)), "code")
	must(client.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: name}))
	seen["deleted"] = refused(client.GetFunction(ctx, &lambda.GetFunctionInput{FunctionName: name}))[:2]
	must(0, json.NewEncoder(os.Stdout).Encode(seen))
}
