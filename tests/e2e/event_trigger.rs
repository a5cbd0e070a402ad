//! The event trigger that `tidemesh event-trigger` writes, in a real database: what DDL would do to
//! pipelines is said inside its transaction, or the transaction refused.

use crate::pipelines::{applied, pipeline, streaming, with_documents};
use crate::support::daemon::Daemon;
use crate::support::eventually;
use crate::support::postgres::Database;
use std::sync::{Arc, Mutex};
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, NoTls};

const TABLE: &str = "CREATE TABLE orders (id bigint PRIMARY KEY, status varchar(10), qty int, \
                     note text, \"it's\" text, free text)";
const TOPIC: &str = "shop.public.orders";

/// What the database warns of, to whoever owns the table and nothing else.
struct Owner {
    client: tokio_postgres::Client,
    warned: Arc<Mutex<Vec<String>>>,
}

impl Owner {
    async fn connect(database: &Database) -> Self {
        let url =
            format!("host=127.0.0.1 port={} dbname={} user=postgres", database.port, database.name);
        let (client, mut connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
        let warned = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&warned);
        tokio::spawn(async move {
            while let Some(message) =
                std::future::poll_fn(|context| connection.poll_message(context)).await
            {
                if let Ok(AsyncMessage::Notice(notice)) = message {
                    let detail = notice.detail().unwrap_or_default();
                    let hint = notice.hint().unwrap_or_default();
                    notes.lock().unwrap().push(format!("{}: {detail}; {hint}", notice.message()));
                }
            }
        });
        let role = format!("{}_owner", database.name);
        let become_owner = format!(
            "DROP ROLE IF EXISTS {role}; CREATE ROLE {role}; ALTER TABLE orders OWNER TO {role}; \
             GRANT CREATE ON SCHEMA public TO {role}; SET ROLE {role}"
        );
        client.batch_execute(&become_owner).await.unwrap();
        warned.lock().unwrap().clear();
        Self { client, warned }
    }

    /// Runs DDL; answers what was warned of.
    async fn warned(&self, ddl: &str) -> String {
        self.client.batch_execute(ddl).await.unwrap_or_else(|error| panic!("{ddl}: {error:?}"));
        self.warned.lock().unwrap().drain(..).collect::<Vec<_>>().join("\n")
    }

    /// Runs DDL that is refused; answers why.
    async fn refused(&self, ddl: &str) -> String {
        let error = self.client.batch_execute(ddl).await.expect_err(ddl);
        let error = error.as_db_error().unwrap();
        assert_eq!(*error.code(), SqlState::DEPENDENT_OBJECTS_STILL_EXIST, "{error:?}");
        let told = [Some(error.message()), error.detail(), error.hint()];
        told.into_iter().flatten().collect::<Vec<_>>().join("\n")
    }
}

async fn install(database: &Database, daemon: &Daemon, args: &[&str]) {
    // The connector announces its tables some time after they have topics.
    let sql = eventually("the catalog has the table", async || {
        let output = daemon.command(&[&["event-trigger", "--source", "shop"], args].concat());
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    })
    .await;
    database.execute(&sql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_database_says_inside_the_transaction_what_ddl_would_do_to_pipelines() {
    let database = Database::new().await;
    database.execute(TABLE).await;
    database.execute("INSERT INTO orders VALUES (1, 'open', 1, 'a', 'b', 'c')").await;
    let folder = tempfile::tempdir().unwrap();
    let daemon = streaming(&database, folder.path(), str::to_owned).await;
    let noted = pipeline("noted", TOPIC, "SELECT id, note, \"it's\" AS its FROM rows");
    eventually("the table has its topic", async || {
        let (code, _) = with_documents(&daemon, folder.path(), "plan", &noted);
        (code != Some(2)).then_some(())
    })
    .await;
    let none = daemon.command(&["event-trigger", "--source", "shop"]);
    assert_eq!(none.status.code(), Some(2), "no pipeline reads it yet");
    applied(&daemon, folder.path(), &noted);
    let owner = Owner::connect(&database).await;

    install(&database, &daemon, &[]).await;
    let free = "ALTER TABLE orders DROP COLUMN free; ALTER TABLE orders ADD COLUMN more int";
    assert_eq!(owner.warned(free).await, "", "nobody reads it");
    let back = |ddl: &str| format!("BEGIN; {ddl}; ROLLBACK");
    let says = |told: &str, what: &str| {
        assert!(told.contains(what) && told.contains("noted"), "{told}");
    };
    let told = owner.warned(&back("ALTER TABLE orders DROP COLUMN note")).await;
    says(&told, "column note of table public.orders is dropped, and pipelines read it");
    assert!(told.contains("tidemesh impact --source shop --table public.orders --drop-column"));
    says(&owner.warned(&back("ALTER TABLE orders RENAME note TO remark")).await, "the name remark");
    says(&owner.warned(&back("ALTER TABLE orders RENAME \"it's\" TO its")).await, "the name its");
    let told = owner.warned(&back("ALTER TABLE orders ALTER note TYPE varchar(9)")).await;
    says(&told, "gets the type character varying(9)");
    let key = "ALTER TABLE orders DROP CONSTRAINT orders_pkey";
    says(&owner.warned(&back(key)).await, "the key of table public.orders becomes another");
    says(
        &owner.warned(&back("ALTER TABLE orders RENAME TO others")).await,
        "the name public.others",
    );
    says(&owner.warned(&back("DROP TABLE orders")).await, "table public.orders is dropped");

    install(&database, &daemon, &["--mode", "refuse"]).await;
    let told = owner.refused("ALTER TABLE orders DROP COLUMN note").await;
    says(&told, "column note of table public.orders is dropped");
    says(&owner.refused("ALTER TABLE orders RENAME note TO remark").await, "the name remark");
    says(&owner.refused("DROP TABLE orders").await, "table public.orders is dropped");
    says(&owner.warned(&back("ALTER TABLE orders ALTER note TYPE varchar(9)")).await, "the type");
    assert_eq!(owner.warned("ALTER TABLE orders DROP COLUMN qty").await, "", "nobody reads it");
    let all_the_same = "SET tidemesh.event_trigger = off; ALTER TABLE orders DROP COLUMN note; \
                        RESET tidemesh.event_trigger";
    assert_eq!(owner.warned(all_the_same).await, "");

    install(&database, &daemon, &["--remove"]).await;
    assert_eq!(owner.warned("ALTER TABLE orders DROP COLUMN \"it's\"").await, "");
}
