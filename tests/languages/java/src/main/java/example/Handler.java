package example;

import com.amazonaws.services.lambda.runtime.Context;
import com.amazonaws.services.lambda.runtime.RequestHandler;
import java.lang.management.ManagementFactory;
import java.util.Map;

/** A handler as a person would write it with AWS's library, for tests/languages/test_languages.py. */
public class Handler implements RequestHandler<Object, Object> {
  @Override
  public Object handleRequest(Object event, Context context) {
    if ("error".equals(event)) {
      throw new RuntimeException("text");
    }
    if ("exit".equals(event)) {
      System.exit(3);
    }
    if ("sleep".equals(event)) {
      try {
        Thread.sleep(60_000);
      } catch (InterruptedException interrupted) {
        throw new IllegalStateException(interrupted);
      }
    }
    if ("print".equals(event)) {
      System.out.println("printed");
      context.getLogger().log("logged\nin two lines");
    }
    if ("memory".equals(event)) {
      return Map.of(
          "megabytes", Runtime.getRuntime().maxMemory() / 1024 / 1024,
          "options", ManagementFactory.getRuntimeMXBean().getInputArguments());
    }
    if ("context".equals(event)) {
      return Map.of(
          "id", context.getAwsRequestId(),
          "arn", context.getInvokedFunctionArn(),
          "function", context.getFunctionName());
    }
    return event;
  }
}
