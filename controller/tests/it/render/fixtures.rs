//! Functions as users write them, and what was gathered for them.

use std::collections::BTreeSet;

use kipper_controller::{
    plan::{Binding, Event, Object, Stamp},
    render::{Clash, Draft, IngressSettings, Input, RenderError, Settings},
};
use kipper_function::{Function, service::ServiceKind};
use kipper_trigger::{DEFAULT_STATE_BUCKET, SecretKey, Setting};

pub(crate) fn settings() -> Settings {
    Settings {
        node_image: "registry.test/kipper/runtime-node:1".to_owned(),
        python_image: "registry.test/kipper/runtime-python:1".to_owned(),
        poller_image: "registry.test/kipper/poller:1".to_owned(),
        image_pull_policy: None,
        scaler_addresses: vec!["kipper-scaler-adapter.kipper-system.svc:9090".to_owned()],
        backlog_address: Some("kipper-scaler-adapter-fleet.kipper-system.svc:9093".to_owned()),
        network_policy: false,
        read_only_root: false,
        state_bucket: DEFAULT_STATE_BUCKET.to_owned(),
        ingress: IngressSettings {
            namespace: "kipper-system".to_owned(),
            service: "kipper-interceptor".to_owned(),
            port: 80,
            class: None,
            tls_secret: None,
            cluster_issuer: None,
            annotations: [].into(),
        },
    }
}

/// A Function and what was gathered for it, owned.
#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) function: Function,
    pub(crate) host: Option<String>,
    pub(crate) bindings: Vec<Binding>,
    pub(crate) secret_keys: BTreeSet<String>,
    pub(crate) secret_digest: Option<String>,
    pub(crate) event: Option<Event>,
    pub(crate) refused: bool,
    pub(crate) settings: Settings,
}

impl Case {
    /// Function `name` of `shop-prod` with this `spec`, as YAML.
    pub(crate) fn new(name: &str, spec: &str) -> Self {
        let mut function = Function::new(name, serde_saphyr::from_str(spec).unwrap());
        function.metadata.namespace = Some("shop-prod".to_owned());
        function.metadata.uid = Some("6f1a2c4e-0000-4000-8000-00000000cafe".to_owned());
        Self {
            function,
            host: Some(format!("fn-{name}.example.com")),
            bindings: Vec::new(),
            secret_keys: BTreeSet::new(),
            secret_digest: None,
            event: None,
            refused: false,
            settings: settings(),
        }
    }

    pub(crate) fn bind(mut self, kind: ServiceKind, prefix: &str, secret: &str) -> Self {
        self.bindings.push(Binding {
            kind,
            prefix: prefix.to_owned(),
            secret: secret.to_owned(),
            digest: format!("digest of {secret}"),
        });
        self
    }

    pub(crate) fn secrets(mut self, keys: &[&str]) -> Self {
        self.secret_keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.secret_digest = Some("digest of the secret".to_owned());
        self
    }

    /// What was prepared for its event trigger: a Secret with these keys beside those of every kind.
    pub(crate) fn event(mut self, keys: &[&str]) -> Self {
        let trigger = self.function.spec.event().unwrap();
        let query = trigger.setting(Setting::Query).map(str::to_owned);
        let keys = ["drain-token", "event-token", "url"].iter().chain(keys);
        let keys = keys.map(|key| SecretKey::parse(key).unwrap()).collect();
        self.event = Some(Event {
            query,
            keys,
            digest: "digest of the trigger's secret".to_owned(),
            drain_token: "0123456789abcdef0123456789abcdef".to_owned(),
            max_held: 160,
        });
        self.host = self.host.filter(|_| self.function.spec.is_http());
        self
    }

    pub(crate) fn refused(self) -> Self {
        Self { refused: true, ..self }
    }

    pub(crate) fn set(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    fn input(&self) -> Input<'_> {
        Input {
            function: &self.function,
            host: self.host.as_deref(),
            bindings: &self.bindings,
            secret_keys: &self.secret_keys,
            secret_digest: self.secret_digest.as_deref(),
            event: self.event.as_ref(),
        }
    }

    pub(crate) fn try_render(&self) -> Result<Vec<Object>, RenderError> {
        Draft::new(&self.input(), &self.settings)?.objects(self.refused)
    }

    /// The spec as revision `number`.
    pub(crate) fn revision(&self, number: i64) -> Object {
        let stamp = |_: &str| Stamp { number, changed_at: None, changed_by: Some("kip".into()) };
        Draft::new(&self.input(), &self.settings).unwrap().revision(stamp).unwrap()
    }

    pub(crate) fn annotate(mut self, name: &str, value: &str) -> Self {
        let annotations = self.function.metadata.annotations.get_or_insert_default();
        annotations.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn clashes(&self) -> Vec<Clash> {
        Draft::new(&self.input(), &self.settings).unwrap().clashes().to_vec()
    }

    pub(crate) fn trigger_digest(&self) -> Option<String> {
        let input = self.input();
        let draft = Draft::new(&input, &self.settings).unwrap();
        draft.trigger_digest().map(str::to_owned)
    }

    pub(crate) fn render(&self) -> Vec<Object> {
        self.try_render().unwrap()
    }
}

pub(crate) fn node_hello() -> Case {
    Case::new(
        "hello",
        "{runtime: node, source: {code: \"module.exports = async () => ({ hello: 'world' })\\n\"}}",
    )
}

pub(crate) fn python_with_dependencies() -> Case {
    let spec = r#"
runtime: python
source:
  code: |
    import requests

    def handler(event):
        return {"version": requests.__version__}
  dependencies: {requests: 2.32.3, pyyaml: ">=6,<7"}
"#;
    Case::new("fetch", spec)
}

pub(crate) fn node_with_dependencies() -> Case {
    let spec = r#"
source:
  code: "module.exports = require('slugify')\n"
  dependencies: {slugify: 1.6.6, "@scope/x": 2.0.0}
"#;
    Case::new("slugs", spec)
}

pub(crate) fn node_folder() -> Case {
    let spec = r#"
source:
  files:
    index.js: "module.exports = async (event) => require('./lib/shout')(event)\n"
    lib/shout.js: "module.exports = (text) => `${text}!`\n"
    package.json: "{\"dependencies\": {\"slugify\": \"1.6.6\"}}\n"
    templates/hello world.txt: "Hello\n"
  npmrc: "registry=https://npm.example.com/\n"
"#;
    Case::new("shout", spec)
}

/// By requests and on a schedule: both kinds of pods mount the same files.
pub(crate) fn python_package() -> Case {
    let spec = r#"
runtime: python
source:
  files:
    handler.py: "from pkg.sub import greet\n\ndef handler(event):\n    return greet(event)\n"
    pkg/__init__.py: ""
    pkg/sub/__init__.py: "from .words import greet\n"
    pkg/sub/words.py: "def greet(name):\n    return f'hello {name}'\n"
  dependencies: {six: 1.16.0}
triggers: [{type: http}, {type: cron, schedule: "@daily"}]
"#;
    Case::new("greet", spec)
}

/// Names on every level, some of them declared twice.
pub(crate) fn environment() -> Case {
    let spec = r#"
source: {code: "module.exports = () => null\n"}
env:
  LOG_LEVEL: debug
  DATABASE_URL: "postgres://$(DB_USER):$(DB_PASSWORD)@$(DB_HOST)/$(DB_NAME)"
  DB_HOST: of the environment
  API_KEY: of the environment
  PORT: "1"
  KIPPER_MODE: batch
"#;
    Case::new("orders", spec)
        .bind(ServiceKind::Postgres, "DB_", "orders.eventdb")
        .bind(ServiceKind::Redis, "REDIS_", "cache-credentials")
        .bind(ServiceKind::Minio, "FILES_", "files-credentials")
        .secrets(&["API_KEY", "FILES_SECRET_KEY", "KIPPER_HOST", "PORT"])
}

pub(crate) fn image() -> Case {
    let spec = r#"
image: registry.test/shop/resize:1.4
runtime: node
port: 9000
readinessPath: /ready
resources: {cpuRequest: 100m, cpuLimit: "2", memoryRequest: 512Mi}
volumes:
  - {name: cache, mountPath: /data/}
  - {name: assets, mountPath: /assets}
  - {name: cache, mountPath: /var/cache}
imagePullSecrets: [{name: registry}]
"#;
    Case::new("resize", spec).set(|settings| settings.image_pull_policy = Some("Always".into()))
}

pub(crate) fn cron() -> Case {
    let spec = r#"
runtime: python
source: {code: "def main():\n    pass\n"}
env: {REGION: eu}
triggers: [{type: cron, schedule: "0 2 * * *"}]
timeouts: {requestSeconds: 900}
volumes: [{name: cache, mountPath: /data}]
"#;
    Case::new("nightly", spec)
        .bind(ServiceKind::Mysql, "DB_", "nightly.eventdb")
        .secrets(&["TOKEN"])
}

pub(crate) fn http_and_cron() -> Case {
    let spec = r#"
source: {code: "module.exports = () => null\n"}
triggers: [{type: http}, {type: cron, schedule: "@hourly", timeZone: Europe/Berlin, suspend: true}]
"#;
    Case::new("report", spec)
}

pub(crate) fn warm() -> Case {
    let spec = r#"
image: registry.test/shop/search:2
protocol: h2c
idleTimeoutSeconds: 60
scaling: {minReplicas: 2, maxReplicas: 20, targetRequestRate: 12.5, concurrency: 8}
timeouts: {coldStartSeconds: 20, responseHeaderSeconds: 10, requestSeconds: 120}
"#;
    Case::new("search", spec)
}

/// Rows, with every setting a poller can be given.
pub(crate) fn postgres_events() -> Case {
    let spec = r#"
image: registry.test/shop/orders:3
port: 9990
readinessPath: /ready
idleTimeoutSeconds: 60
scaling: {maxReplicas: 4}
triggers:
  - type: postgres
    config:
      source: db
      query: |-
        SELECT * FROM orders WHERE note <> $$done$$ -- pending
      key: id, shop
      markDone: "UPDATE orders SET note = 'done' WHERE id = {{id}}"
      onFailed: "UPDATE orders SET note = {{_error}} WHERE id = {{id}}"
      batch: "50"
      concurrency: "4"
      maxAttempts: "3"
      pollInterval: 500ms
      deliverTimeout: 1m30s
"#;
    Case::new("orders", spec).event(&["ca", "connection"])
}

pub(crate) fn mysql_events() -> Case {
    let spec = r#"
source: {code: "module.exports = () => null\n"}
triggers:
  - type: mysql
    config: {source: db, query: SELECT * FROM orders}
"#;
    Case::new("orders", spec).event(&["dbName", "host", "password", "port", "username"])
}

pub(crate) fn redis_events() -> Case {
    let spec = r#"
runtime: python
source: {code: "def handler(event):\n    pass\n"}
scaling: {minReplicas: 1}
triggers:
  - type: redis
    config: {source: cache, list: jobs, listEnd: right, lease: 1m}
"#;
    Case::new("jobs", spec).event(&["address", "ca", "password", "tls"])
}

pub(crate) fn minio_events() -> Case {
    let spec = r#"
source: {code: "module.exports = () => null\n"}
triggers:
  - type: minio
    config: {source: files, bucket: photos, prefix: in/, suffix: .jpg}
"#;
    Case::new("thumbs", spec).event(&["access-key", "secret-key"])
}

pub(crate) fn http_and_events() -> Case {
    let spec = r#"
source: {code: "module.exports = () => null\n"}
timeouts: {responseHeaderSeconds: 60}
triggers:
  - {type: http}
  - {type: redis, config: {source: cache, list: "{shop}:jobs", batch: "5"}}
"#;
    Case::new("both", spec)
        .event(&["address", "tls"])
        .set(|settings| settings.network_policy = true)
}

/// Every fixture, for what holds of all of them.
pub(crate) fn all() -> Vec<Case> {
    let protected = node_hello().set(|settings| settings.network_policy = true);
    vec![
        node_hello(),
        python_with_dependencies(),
        node_with_dependencies(),
        node_folder(),
        python_package(),
        environment(),
        image(),
        cron(),
        http_and_cron(),
        warm(),
        protected,
        postgres_events(),
        mysql_events(),
        redis_events(),
        minio_events(),
        http_and_events(),
        http_and_events().refused(),
    ]
}
