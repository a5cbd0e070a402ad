//! Who is let in by a password, and what each role may do.

use reqwest::Method;
use serde_json::{Value, json};
use tidemesh_schema_registry::SecurityConfig;

use crate::server::{Server, Visitor, eventually, grants, record, users_file};

/// A registry with these users, each with its groups, and these grants.
pub(crate) async fn guarded(users: &[(&str, &str)], granted: &[&str]) -> (Server, Folder) {
    guarded_with(users, granted, |_| ()).await
}

pub(crate) type Folder = tempfile::TempDir;

pub(crate) async fn guarded_with(
    users: &[(&str, &str)],
    granted: &[&str],
    change: impl FnOnce(&mut SecurityConfig),
) -> (Server, Folder) {
    let folder = tempfile::tempdir().unwrap();
    let file = users_file(folder.path(), users);
    let server = Server::start_with(|config| {
        config.security.users_file = Some(file);
        config.security.grants = grants(granted);
        change(&mut config.security);
    });
    (server.await, folder)
}

/// A schema of its own for each name.
fn schema(name: &str) -> String {
    record(name, &[("f", "\"int\"")])
}

/// `root` may do everything, `ann` writes `pay-`, `bob` reads it, `eve` has nothing of either.
async fn filled() -> (Server, Folder) {
    let users = [("root", "ops"), ("ann", ""), ("bob", ""), ("eve", "")];
    let granted = [
        "group:ops admin * ",
        "user:ann write . pay-",
        "user:bob read . pay-",
        "user:eve admin .eve ",
    ];
    let (server, folder) = guarded(&users, &granted).await;
    let root = server.user("root", "root");
    assert_eq!(root.register("pay-a", &schema("A")).await, 1);
    assert_eq!(root.register("hr-b", &schema("B")).await, 2);
    assert_eq!(root.register("pay-c", &schema("B")).await, 2);
    assert_eq!(root.register("hr-d", &schema("D")).await, 3);
    assert_eq!(root.register(":.eve:e", &schema("E")).await, 1);
    (server, folder)
}

fn denied(answer: crate::server::Answer) {
    let message = answer.code(403, 40301);
    assert!(message.starts_with("User is denied operation "), "{message}");
}

#[tokio::test]
async fn nobody_unknown_is_let_in_and_the_answer_says_how_to_come_in() {
    let (server, _folder) = filled().await;
    let wrong = [
        server.visitor(""),
        server.visitor("Basic"),
        server.visitor("Basic !"),
        server.visitor("Bearer abc"),
        server.visitor("Digest x"),
        server.user("ann", "wrong"),
        server.user("nobody", "nobody"),
        server.user("ann", &"x".repeat(2_000)),
    ];
    for visitor in wrong {
        for path in ["/subjects", "/schemas/ids/1", "/contexts/.eve/subjects", "/nowhere"] {
            let response = visitor.request(Method::GET, path).send().await.unwrap();
            let challenge = response.headers()["www-authenticate"].to_str().unwrap().to_owned();
            assert_eq!(challenge, "Basic realm=\"registry\"");
            crate::server::answer(response).await.code(401, 40101);
        }
    }
    assert_eq!(server.get("/health").await.ok(), json!({"status": "up"}));
    server.user("ann", "ann").get("/subjects").await.ok();
}

#[tokio::test]
async fn lists_hold_what_their_reader_may_see() {
    let (server, _folder) = filled().await;
    let [root, bob, eve] = ["root", "bob", "eve"].map(|name| server.user(name, name));
    for (visitor, subjects, contexts) in [
        (&root, json!([":.eve:e", "hr-b", "hr-d", "pay-a", "pay-c"]), json!([".", ".eve"])),
        (&bob, json!(["pay-a", "pay-c"]), json!(["."])),
        (&eve, json!([":.eve:e"]), json!([".eve"])),
    ] {
        assert_eq!(visitor.get("/subjects").await.ok(), subjects);
        assert_eq!(visitor.get("/contexts").await.ok(), contexts);
        let found = visitor.get("/schemas").await.ok();
        let names: Vec<&Value> =
            found.as_array().unwrap().iter().map(|one| &one["subject"]).collect();
        assert_eq!(json!(names), subjects);
    }
    // What is left out is left out before pages are counted.
    assert_eq!(bob.get("/subjects?offset=1&limit=1").await.ok(), json!(["pay-c"]));
    assert_eq!(bob.get("/schemas/ids/2/subjects").await.ok(), json!(["pay-c"]));
    let versions = json!([{"subject": "pay-c", "version": 1}]);
    assert_eq!(bob.get("/schemas/ids/2/versions").await.ok(), versions);
    assert_eq!(bob.get("/schemas/ids/3/subjects").await.ok(), json!([]));
    let guid = root.get("/subjects/hr-d/versions/1").await.ok()["guid"].clone();
    let path = format!("/schemas/guids/{}", guid.as_str().unwrap());
    root.get(&path).await.ok();
    bob.get(&path).await.code(404, 40403);
    bob.get(&format!("{path}/ids")).await.code(404, 40403);
}

#[tokio::test]
async fn a_schema_is_read_by_its_id_with_any_subject_that_has_it() {
    let (server, _folder) = filled().await;
    let [root, bob, eve] = ["root", "bob", "eve"].map(|name| server.user(name, name));
    for id in [1, 2] {
        bob.get(&format!("/schemas/ids/{id}")).await.ok();
        bob.get(&format!("/schemas/ids/{id}/schema")).await.ok();
    }
    for path in ["/schemas/ids/3", "/schemas/ids/3/schema", "/schemas/ids/1?subject=:.eve:"] {
        root.get(path).await.ok();
        denied(bob.get(path).await);
    }
    denied(eve.get("/schemas/ids/1").await);
    eve.get("/contexts/.eve/schemas/ids/1").await.ok();
    eve.get("/schemas/ids/1?subject=:.eve:").await.ok();
}

#[tokio::test]
async fn each_role_does_what_it_may_and_nothing_else() {
    let (server, _folder) = filled().await;
    let [root, ann, bob] = ["root", "ann", "bob"].map(|name| server.user(name, name));
    let body = || json!({"schema": schema("A")});
    for visitor in [&ann, &bob] {
        visitor.get("/subjects/pay-a/versions").await.ok();
        visitor.get("/subjects/pay-a/versions/latest").await.ok();
        visitor.post("/subjects/pay-a", body()).await.ok();
        visitor.post("/compatibility/subjects/pay-a/versions/latest", body()).await.ok();
        visitor.get("/config").await.ok();
        visitor.get("/config/pay-a?defaultToGlobal=true").await.ok();
        visitor.get("/mode").await.ok();
        visitor.get("/v1/metadata/id").await.ok();
        denied(visitor.get("/subjects/hr-b/versions").await);
        denied(visitor.get("/subjects/hr-b/versions/1/schema").await);
        denied(visitor.get("/subjects/none/versions").await);
        denied(visitor.post("/subjects/hr-b", body()).await);
        denied(visitor.post("/compatibility/subjects/hr-b/versions", body()).await);
        denied(visitor.get("/config/hr-b").await);
        denied(visitor.put("/config", json!({"compatibility": "NONE"})).await);
        denied(visitor.put("/config/pay-a", json!({"compatibility": "NONE"})).await);
        denied(visitor.put("/mode/pay-a", json!({"mode": "READONLY"})).await);
        denied(visitor.delete("/mode").await);
        denied(visitor.delete("/subjects/pay-a?permanent=true").await);
        denied(visitor.delete("/subjects/pay-a?permanent=TRUE").await);
        denied(visitor.delete("/contexts/.eve").await);
        denied(visitor.put("/config/:.__GLOBAL:", json!({"compatibility": "NONE"})).await);
        denied(visitor.put("/contexts/./config", json!({"compatibility": "NONE"})).await);
        denied(visitor.post("/subjects/hr-b/versions", body()).await);
    }
    let more = || json!({"schema": schema("More")});
    denied(bob.post("/subjects/pay-new/versions", more()).await);
    denied(bob.delete("/subjects/pay-a").await);
    denied(bob.post("/subjects/pay-a/versions/1/tags", json!({"newVersion": 2})).await);
    ann.post("/subjects/pay-new/versions", more()).await.ok();
    ann.delete("/subjects/pay-new/versions/1").await.ok();
    denied(ann.delete("/subjects/pay-new/versions/1?permanent=true").await);
    root.delete("/subjects/pay-new/versions/1?permanent=true").await.ok();
    root.put("/config", json!({"compatibility": "NONE"})).await.ok();
}

#[tokio::test]
async fn a_context_is_its_own_administrators() {
    let (server, _folder) = filled().await;
    let [eve, bob] = ["eve", "bob"].map(|name| server.user(name, name));
    eve.put("/contexts/.eve/config", json!({"compatibility": "NONE"})).await.ok();
    eve.put("/mode/:.eve:", json!({"mode": "READONLY"})).await.ok();
    eve.delete("/mode/:.eve:").await.ok();
    denied(eve.put("/config", json!({"compatibility": "NONE"})).await);
    denied(eve.put("/config/pay-a", json!({"compatibility": "NONE"})).await);
    denied(bob.get("/contexts/.eve/subjects/e/versions").await);
    denied(bob.get("/subjects/:.eve:e/versions").await);
    eve.delete("/contexts/.eve/subjects/e").await.ok();
    eve.delete("/subjects/:.eve:e?permanent=true").await.ok();
    eve.delete("/contexts/.eve").await;
}

#[tokio::test]
async fn what_is_found_elsewhere_than_it_was_asked_for_is_checked_there() {
    let (server, _folder) = filled().await;
    let [root, bob, ann] = ["root", "bob", "ann"].map(|name| server.user(name, name));
    // A subject that the default context lacks is looked for in the others.
    root.register(":.eve:pay-x", &schema("X")).await;
    // Who may not see it there is not told that it is.
    bob.get("/subjects/pay-x/versions/1").await.code(404, 40401);
    bob.get("/subjects/pay-x/versions/1/schema").await.code(404, 40401);
    bob.get("/subjects/pay-x/versions/1/referencedby").await.code(404, 40401);
    bob.post("/subjects/pay-x", json!({"schema": schema("X")})).await.code(404, 40401);
    // Nobody changes one under the name of another.
    for visitor in [&ann, &root] {
        let tagged = visitor.post("/subjects/pay-x/versions/1/tags", json!({"newVersion": 2}));
        tagged.await.code(404, 40401);
    }
    root.get("/subjects/pay-x/versions/1").await.ok();
    // A name that means another subject.
    root.put("/config/pay-alias", json!({"alias": "hr-b"})).await.ok();
    denied(bob.get("/subjects/pay-alias/versions/1").await);
    denied(bob.get("/subjects/pay-alias/versions").await);
    denied(ann.post("/subjects/pay-alias/versions", json!({"schema": schema("A")})).await);
}

#[tokio::test]
async fn what_may_not_be_seen_stands_before_nothing_that_may() {
    let granted = ["user:root admin * ", "user:bob read . ", "user:bob read .b "];
    let (server, _folder) = guarded(&[("root", ""), ("bob", "")], &granted).await;
    let [root, bob] = ["root", "bob"].map(|name| server.user(name, name));
    root.register("other", &schema("Other")).await;
    root.register(":.a:x", &schema("Hidden")).await;
    root.register(":.b:x", &schema("Seen")).await;
    for (visitor, subject, name) in [(&root, ":.a:x", "Hidden"), (&bob, ":.b:x", "Seen")] {
        let found = visitor.get("/subjects/x/versions/1").await.ok();
        assert_eq!(found["subject"], json!(subject));
        let found = visitor.get("/schemas/ids/1?subject=x").await.ok();
        assert!(found["schema"].as_str().unwrap().contains(name), "{found}");
        let found = visitor.post("/subjects/x", json!({"schema": schema(name)})).await.ok();
        assert_eq!(found["subject"], json!(subject));
    }
    bob.post("/subjects/x", json!({"schema": schema("Hidden")})).await.code(404, 40401);
}

#[tokio::test]
async fn an_alias_takes_the_right_to_what_it_means() {
    let granted = ["user:root admin * ", "user:ann admin . pay-"];
    let (server, _folder) = guarded(&[("root", ""), ("ann", "")], &granted).await;
    let [root, ann] = ["root", "ann"].map(|name| server.user(name, name));
    root.register("hr-b", &schema("B")).await;
    denied(ann.put("/config/pay-a", json!({"alias": "hr-b"})).await);
    ann.put("/config/pay-a", json!({"alias": "pay-b"})).await.ok();
}

#[tokio::test]
async fn a_schema_refers_only_to_what_its_sender_may_read() {
    let (server, _folder) = filled().await;
    let [ann, root] = ["ann", "root"].map(|name| server.user(name, name));
    let body = |subject: &str, name: &str| {
        json!({
            "schema": record("User", &[("f", &format!("\"{name}\""))]),
            "references": [{"name": name, "subject": subject, "version": 1}],
        })
    };
    for path in ["/subjects/pay-u/versions", "/subjects/pay-u"] {
        denied(ann.post(path, body("hr-d", "D")).await);
    }
    denied(ann.post("/compatibility/subjects/pay-u/versions", body("hr-d", "D")).await);
    ann.post("/subjects/pay-u/versions", body("pay-a", "A")).await.ok();
    root.post("/subjects/hr-u/versions", body("pay-a", "A")).await.ok();
    let ids = root.get("/subjects/pay-a/versions/1/referencedby").await.ok();
    assert_eq!(ids.as_array().unwrap().len(), 1, "both are one schema");
    root.post("/subjects/hr-v/versions", {
        let mut other = body("pay-a", "A");
        other["schema"] = json!(record("Other", &[("f", "\"A\"")]));
        other
    })
    .await
    .ok();
    let all = root.get("/subjects/pay-a/versions/1/referencedby").await.ok();
    let seen = ann.get("/subjects/pay-a/versions/1/referencedby").await.ok();
    assert_eq!((all.as_array().unwrap().len(), seen.as_array().unwrap().len()), (2, 1));
}

#[tokio::test]
async fn an_import_with_an_id_takes_an_administrator() {
    let (server, _folder) = filled().await;
    let [ann, root] = ["ann", "root"].map(|name| server.user(name, name));
    root.put("/mode/pay-i", json!({"mode": "IMPORT"})).await.ok();
    let body = || json!({"schema": schema("I"), "id": 77, "version": 1});
    denied(ann.post("/subjects/pay-i/versions", body()).await);
    assert_eq!(root.post("/subjects/pay-i/versions", body()).await.ok()["id"], json!(77));
}

#[tokio::test]
async fn a_user_who_is_taken_out_of_the_file_is_no_longer_known() {
    let (server, folder) = guarded(&[("ann", ""), ("bob", "")], &["* read . "]).await;
    let [ann, bob] = ["ann", "bob"].map(|name| server.user(name, name));
    ann.get("/subjects").await.ok();
    users_file(folder.path(), &[("bob", "")]);
    eventually("the file is read again", async || ann.get("/subjects").await.status == 401).await;
    bob.get("/subjects").await.ok();
    std::fs::write(folder.path().join("users"), "broken").unwrap();
    bob.get("/subjects").await.ok();
}

#[tokio::test]
async fn guessing_passwords_is_slowed_down_and_holds_up_nobody_who_is_known() {
    let (server, _folder) = guarded(&[("ann", "")], &["* read . "]).await;
    let ann: Visitor = server.user("ann", "ann");
    ann.get("/subjects").await.ok();
    let mut slowed = false;
    for attempt in 0..40 {
        let answer = server.user("ann", &attempt.to_string()).get("/subjects").await;
        slowed |= answer.status == 429;
        assert!([401, 429].contains(&answer.status), "{answer:?}");
        ann.get("/subjects").await.ok();
    }
    assert!(slowed);
}

#[tokio::test]
async fn consumers_and_explanations_are_of_subjects_that_may_be_read() {
    let (server, _folder) = filled().await;
    let [root, ann, bob] = ["root", "ann", "bob"].map(|name| server.user(name, name));
    let at = |subject: &str| format!("/tidemesh/v1/consumers/c/subjects/{subject}");
    root.put(&at("hr-b"), json!({})).await.ok();
    ann.put(&at("pay-a"), json!({"fields": ["f"]})).await.ok();
    denied(bob.put(&at("pay-a"), json!({})).await);
    denied(bob.delete(&at("pay-a")).await);
    denied(ann.put(&at("hr-b"), json!({})).await);
    bob.get(&at("pay-a")).await.ok();
    denied(bob.get(&at("hr-b")).await);
    let list = bob.get("/tidemesh/v1/consumers").await.ok();
    assert_eq!(list, json!([{"consumer": "c", "subject": "pay-a", "fields": ["f"]}]));
    assert_eq!(bob.get("/tidemesh/v1/consumers?subject=hr-b").await.ok(), json!([]));
    let explain = async |subject: &str, references: Value| {
        let body = json!({"subject": subject, "schema": schema("X"), "references": references});
        bob.post("/tidemesh/v1/compatibility/explain", body).await
    };
    explain("pay-a", json!([])).await.ok();
    denied(explain("hr-b", json!([])).await);
    let foreign = json!([{"name": "B", "subject": "hr-b", "version": 1}]);
    denied(explain("pay-a", foreign).await);
}

#[tokio::test]
async fn a_port_without_a_log_in_takes_nothing_from_web_pages() {
    let server = Server::start().await;
    let own = server.url.clone();
    let port = own.rsplit_once(':').unwrap().1;
    let local = format!("localhost:{port}");
    let send = async |server: &Server, name: &str, value: &str| {
        let visitor = server.visitor("");
        let request = visitor.request(Method::POST, "/subjects/s/versions").header(name, value);
        let sent = request.body(json!({"schema": "\"int\""}).to_string()).send().await.unwrap();
        crate::server::answer(sent).await
    };
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "http://localhost:3000"),
        ("origin", "null"),
        ("host", "evil.example"),
        ("host", "127.0.0.1.evil.example:80"),
    ] {
        send(&server, name, value).await.code(403, 40301);
    }
    assert_eq!(server.get("/subjects").await.ok(), json!([]));
    for (name, value) in [("origin", own.as_str()), ("host", &local), ("host", "[::1]")] {
        send(&server, name, value).await.ok();
    }
    let (guarded, _folder) = guarded(&[("ann", "")], &["* read . "]).await;
    send(&guarded, "host", "registry.example").await.code(401, 40101);
}
