//! The description: what is served is what is printed, it is OpenAPI 3.1, and its requests are closed.

use std::process::Command;

use caponier::web::openapi;
use serde_json::Value;

use crate::sign_in::site::Site;
use crate::world::process::run;
use crate::world::{PATIENCE, part, scratch};

#[tokio::test]
async fn what_is_served_is_what_is_printed() {
    let printed =
        run(Command::new(env!("CARGO_BIN_EXE_caponier")).args(["api", "openapi"]), b"", PATIENCE).ok();
    let site = Site::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = site.page("/v1/openapi.json");
    let served = http.get(url.clone()).send().await.unwrap();
    assert_eq!(served.headers()["content-type"], "application/json");
    let tag = served.headers()["etag"].clone();
    assert_eq!(served.text().await.unwrap(), printed);
    for (known, status) in [
        (tag.to_str().unwrap(), 304),
        (&format!("\"x\", W/{}", tag.to_str().unwrap()), 304),
        ("*", 304),
        ("\"x\"", 200),
        ("", 200),
    ] {
        let answer = http.get(url.clone()).header("if-none-match", known).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), &answer.headers()["etag"]), (status, &tag), "{known}");
        assert_eq!(answer.text().await.unwrap().is_empty(), status == 304);
    }
}

#[test]
fn it_is_openapi() {
    let dir = scratch();
    let file = dir.path().join("openapi.json");
    let judge = |text: &str| {
        std::fs::write(&file, text).unwrap();
        let mut judge = Command::new(part("target/test-parts/openapi/bin/openapi-spec-validator"));
        run(judge.args(["--schema", "3.1.0"]).arg(&file), b"", PATIENCE)
    };
    judge(openapi::text()).ok();
    // The judge judges.
    judge(
        &openapi::text()
            .replacen("\"operationId\"", "\"operationID\"", 1)
            .replace("\"in\": \"path\"", "\"in\": \"way\""),
    )
    .ended(1);
}

#[test]
fn requests_are_closed_and_everything_is_explained() {
    let description: Value = serde_json::from_str(openapi::text()).unwrap();
    let schemas = description["components"]["schemas"].as_object().unwrap();
    for (name, schema) in schemas {
        assert!(schema["description"].is_string(), "{name} is not explained");
        for (field, of) in schema["properties"].as_object().into_iter().flatten() {
            assert!(of["description"].is_string(), "{name}.{field} is not explained");
        }
    }
    let mut bodies = 0;
    for (path, operations) in description["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let content = operation["requestBody"]["content"].as_object();
            for (kind, content) in content.into_iter().flatten() {
                bodies += 1;
                let reference = content["schema"]["$ref"].as_str().unwrap().trim_start_matches('#');
                let schema = description.pointer(reference).unwrap();
                let closed = schema["additionalProperties"] == false;
                assert!(closed || kind != "application/json", "{method} {path}: {reference} is open");
            }
            for (status, answer) in operation["responses"].as_object().unwrap() {
                if status.parse::<u16>().unwrap() >= 400 {
                    let form = &answer["content"]["application/json"]["schema"]["$ref"];
                    assert_eq!(form, "#/components/schemas/ErrorBody", "{method} {path} {status}");
                }
            }
        }
    }
    assert!(bodies >= 3, "{bodies}");
}
