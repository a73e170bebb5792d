//! `kip service list` and `describe`: what may be known of services.

use clap::Args as ClapArgs;
use kipper_client::{
    ApiError, Connection,
    credentials::{Credentials, Known, Purpose, Use, users, uses},
    functions::Functions,
};
use kipper_function::{
    Service, Timestamp, names,
    service::{ServiceKind, credentials},
};
use kube::ResourceExt as _;

use crate::{
    empty,
    output::{self, OutputArgs},
};

/// List services.
#[derive(Clone, Debug, ClapArgs)]
pub struct ListArgs {
    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

/// Show the details of a service.
#[derive(Clone, Debug, ClapArgs)]
pub struct DescribeArgs {
    /// Name of the service
    pub name: String,

    /// Output format.
    #[command(flatten)]
    pub output: OutputArgs,
}

pub(super) async fn list(args: &ListArgs, connection: &Connection) -> anyhow::Result<()> {
    let credentials = Credentials::new(connection);
    let services = credentials.list().await?;
    if services.is_empty() {
        empty::note("services", connection, args.output.output).await;
    }
    if let Some(format) = args.output.output {
        return output::objects(format, output::SERVICES, services);
    }
    // Who may not look at functions or Secrets sees the services.
    let functions = ApiError::allowed(Functions::new(connection).list().await)?;
    let (mut rows, mut may_look, now) = (Vec::new(), true, Timestamp::now());
    for service in &services {
        let mut known = None;
        if may_look {
            let found = ApiError::allowed(credentials.known(service).await)?;
            may_look = found.is_some();
            known = found.flatten();
        }
        let uses = functions.as_ref().map(|functions| uses(functions, &service.name_any()));
        rows.push(row(service, known.as_ref(), uses.as_deref(), now));
    }
    output::print(output::table(&["NAME", "TYPE", "HOST", "USED BY", "AGE"], &rows))
}

fn row(
    service: &Service,
    known: Option<&Known>,
    uses: Option<&[Use]>,
    now: Timestamp,
) -> Vec<String> {
    let or_none = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    vec![
        service.name_any(),
        service.spec.type_.clone(),
        or_none(known.and_then(|known| known.address.clone()).unwrap_or_default()),
        or_none(uses.map(|uses| users(uses).join(",")).unwrap_or_default()),
        output::age(service.creation_timestamp().map(|time| time.0), now),
    ]
}

pub(super) async fn describe(args: &DescribeArgs, connection: &Connection) -> anyhow::Result<()> {
    let credentials = Credentials::new(connection);
    let service = credentials.get(&args.name).await?;
    if let Some(format) = args.output.output {
        return output::object(format, output::SERVICES, &service);
    }
    let known = ApiError::allowed(credentials.known(&service).await)?;
    let functions = ApiError::allowed(Functions::new(connection).list().await)?;
    let uses = functions.map(|functions| uses(&functions, &args.name));
    output::print(text(&service, known.as_ref().map(Option::as_ref), uses.as_deref()))
}

/// Everything about a service. What is `None` the user may not look at.
fn text(service: &Service, known: Option<Option<&Known>>, uses: Option<&[Use]>) -> String {
    let mut lines = Vec::new();
    let mut add = |what: &str, value: String| lines.push(format!("{what:<10}{value}"));
    add("name", service.name_any());
    add("namespace", service.namespace().unwrap_or_default());
    add("type", service.spec.type_.clone());
    let secret = names::service_credentials(&service.name_any());
    match known {
        None => add("secret", format!("{secret}, which you are not allowed to read")),
        Some(None) => add("secret", format!("{secret}, which does not exist")),
        Some(Some(known)) => {
            add("host", known.address.clone().unwrap_or_else(|| "-".to_owned()));
            if let Some(database) = &known.database {
                add("database", database.clone());
            }
            let has_ca = known.keys.iter().any(|key| key == credentials::CA);
            add("tls", if has_ca { "verified against the Secret's CA" } else { "no" }.to_owned());
            add("secret", format!("{secret}: {}", known.keys.join(", ")));
            if !known.missing.is_empty() {
                add("missing", known.missing.join(", "));
            }
        }
    }
    let mut text = lines.join("\n") + "\n";
    let Some(uses) = uses else { return text };
    text.push_str("\nUsed by\n");
    for it in uses {
        text.push_str(&format!("  {}: {}\n", it.function, purpose(it, service.spec.kind())));
    }
    if uses.is_empty() {
        text.push_str("  no function\n");
    }
    text
}

fn purpose(used: &Use, kind: Option<ServiceKind>) -> String {
    match (used.purpose, &used.database) {
        (Purpose::Binding, Some(database)) => format!("binding, database {database}"),
        (Purpose::Binding, None) if kind.is_some_and(ServiceKind::is_database) => {
            "binding, a database of its own".to_owned()
        }
        (Purpose::Binding, None) => "binding".to_owned(),
        (Purpose::Events(kind), Some(database)) => format!("{kind} events, database {database}"),
        (Purpose::Events(kind), None) if kind.is_sql() => {
            format!("{kind} events, database as the Secret says")
        }
        (Purpose::Events(kind), None) => format!("{kind} events"),
    }
}

#[cfg(test)]
mod tests {
    use kipper_function::service::ServiceSpec;
    use kipper_trigger::Kind;

    use super::*;

    fn service() -> Service {
        let mut service = Service::new("eventdb", ServiceSpec { type_: "postgres".to_owned() });
        service.metadata.namespace = Some("shop-dev".to_owned());
        service
    }

    fn used() -> [Use; 3] {
        let used = |function: &str, purpose, database: Option<&str>| Use {
            function: function.to_owned(),
            purpose,
            database: database.map(str::to_owned),
        };
        [
            used("orders", Purpose::Binding, Some("shop")),
            used("report", Purpose::Binding, None),
            used("report", Purpose::Events(Kind::Postgres), None),
        ]
    }

    fn known() -> Known {
        Known {
            secret: "eventdb-credentials".to_owned(),
            keys: ["HOST", "NAME", "PORT"].map(str::to_owned).into(),
            missing: vec!["USERNAME", "PASSWORD"],
            address: Some("db:5432".to_owned()),
            database: Some("shop".to_owned()),
        }
    }

    #[test]
    fn it_is_described_without_its_secrets() {
        let expected = "\
name      eventdb
namespace shop-dev
type      postgres
host      db:5432
database  shop
tls       no
secret    eventdb-credentials: HOST, NAME, PORT
missing   USERNAME, PASSWORD

Used by
  orders: binding, database shop
  report: binding, a database of its own
  report: postgres events, database as the Secret says
";
        assert_eq!(text(&service(), Some(Some(&known())), Some(&used())), expected);
        let hidden = text(&service(), None, None);
        assert!(hidden.ends_with("which you are not allowed to read\n"), "{hidden}");
        let absent = text(&service(), Some(None), Some(&[]));
        assert!(absent.ends_with("which does not exist\n\nUsed by\n  no function\n"), "{absent}");
    }

    #[test]
    fn a_row_tells_what_may_be_known() {
        let now = Timestamp::UNIX_EPOCH;
        let full = row(&service(), Some(&known()), Some(&used()), now);
        assert_eq!(full, ["eventdb", "postgres", "db:5432", "orders,report", "-"]);
        let bare = row(&service(), None, None, now);
        assert_eq!(bare, ["eventdb", "postgres", "-", "-", "-"]);
    }
}
