//! A handler as a person would write it with AWS's crate, for tests/languages/test_languages.py.

use lambda_runtime::{run, service_fn, Error, LambdaEvent};
use serde_json::{json, Value};
use std::time::Duration;

async fn handle(event: LambdaEvent<Value>) -> Result<Value, Error> {
    match event.payload.as_str() {
        Some("error") => Err("text".into()),
        Some("exit") => std::process::exit(3),
        Some("sleep") => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(Value::Null)
        }
        Some("context") => Ok(json!({
            "id": event.context.request_id,
            "arn": event.context.invoked_function_arn,
            "function": event.context.env_config.function_name,
        })),
        Some("print") => {
            println!("printed");
            Ok(event.payload)
        }
        _ => Ok(event.payload),
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    run(service_fn(handle)).await
}
