//! Many clients at once.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use crate::server::{Answer, CONTENT_TYPE, Server, answer, client, record};

const CONNECTIONS: usize = 8;
const SCHEMAS_EACH: usize = 25;

/// Eight clients with one connection each, all of them sending without a pause.
async fn register_all(
    server: &Arc<Server>,
    subject: impl Fn(usize, usize) -> String + Send + Sync + Copy + 'static,
    schema: impl Fn(usize, usize) -> String + Send + Sync + Copy + 'static,
) -> Vec<Answer> {
    let mut tasks = Vec::new();
    for connection in 0..CONNECTIONS {
        let server = Arc::clone(server);
        tasks.push(tokio::spawn(async move {
            let client = client();
            let mut answers = Vec::new();
            for number in 0..SCHEMAS_EACH {
                let url =
                    format!("{}/subjects/{}/versions", server.url, subject(connection, number));
                let body = json!({"schema": schema(connection, number)}).to_string();
                let request = client.post(url).header("content-type", CONTENT_TYPE).body(body);
                answers.push(answer(request.send().await.expect("an answer")).await);
            }
            answers
        }));
    }
    let mut answers = Vec::new();
    for task in tasks {
        answers.extend(task.await.expect("the task ends"));
    }
    answers
}

fn ids(answers: Vec<Answer>) -> Vec<u64> {
    answers.into_iter().map(|answer| answer.ok()["id"].as_u64().expect("an id")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn distinct_schemas_get_dense_distinct_ids() {
    let server = Arc::new(Server::start().await);
    let answers = register_all(
        &server,
        |connection, number| format!("s{}", (connection + number) % 5),
        |connection, number| {
            // One more optional field each: compatible in any order.
            let field = format!("f_{connection}_{number}");
            let field = format!(r#"{{"name":"{field}","type":"int","default":0}}"#);
            format!(r#"{{"type":"record","name":"r","fields":[{field}]}}"#)
        },
    )
    .await;
    let ids: BTreeSet<u64> = ids(answers).into_iter().collect();
    let count = u64::try_from(CONNECTIONS * SCHEMAS_EACH).unwrap();
    assert_eq!(ids, (1..=count).collect());
    for subject in 0..5 {
        let versions = server.get(&format!("/subjects/s{subject}/versions")).await.ok();
        assert_eq!(versions, json!((1..=40).collect::<Vec<_>>()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_schema_gets_one_id_in_all_subjects_and_one_version_in_each() {
    let server = Arc::new(Server::start().await);
    let answers = register_all(
        &server,
        |connection, number| format!("s{}", (connection * number) % 10),
        |_, _| record("r", &[("f", "\"int\"")]),
    )
    .await;
    assert!(ids(answers).iter().all(|id| *id == 1));
    for subject in server.get("/subjects").await.ok().as_array().unwrap() {
        let path = format!("/subjects/{}/versions", subject.as_str().unwrap());
        assert_eq!(server.get(&path).await.ok(), json!([1]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_schemas_that_exclude_each_other_exactly_one_wins() {
    let server = Arc::new(Server::start().await);
    let answers = register_all(
        &server,
        |_, number| format!("s{number}"),
        |connection, number| {
            let symbol = format!("A{connection}x{number}");
            format!(r#"{{"type":"enum","name":"e","symbols":["{symbol}"]}}"#)
        },
    )
    .await;
    let won = answers.iter().filter(|answer| answer.status == 200).count();
    let lost = answers.iter().filter(|answer| answer.status == 409).count();
    assert_eq!((won, lost), (SCHEMAS_EACH, (CONNECTIONS - 1) * SCHEMAS_EACH));
}
