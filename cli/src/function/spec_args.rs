//! The flags that make or change a Function's spec.

use std::{fs, path::PathBuf};

use anyhow::Context as _;
use clap::Args;
use kipper_client::edits::{self, EditError};
use kipper_function::{
    FunctionSpec,
    function::{
        ImagePullSecret, Resources, Runtime, Scaling, ServiceBinding, Source, Timeouts, Volume,
    },
};
use kipper_process::exit::UsageError;

use super::{
    entry::{
        Entry, binding, change_env, dependency, image_pull_secret, origin, runtime, variable,
        volume,
    },
    trigger_args::TriggerArgs,
};
use crate::{
    code::{Code, CodeError},
    duration, env_file,
};

/// What a function is.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub struct SpecArgs {
    /// Container image (or use --code-file for inline code)
    #[arg(long, value_name = "IMAGE", conflicts_with = "code_file")]
    pub image: Option<String>,

    /// File with the handler, or the folder of the function; `-` reads a file from stdin
    #[arg(long, value_name = "PATH")]
    pub code_file: Option<PathBuf>,

    /// Runtime of --code-file: node or python [default: by the file extension or the folder's entry file]
    #[arg(long, value_name = "RUNTIME", value_parser = runtime)]
    pub runtime: Option<Runtime>,

    /// Name of the exported handler, if not the default one
    #[arg(long, value_name = "NAME")]
    pub handler: Option<String>,

    /// What invokes it.
    #[command(flatten)]
    pub trigger: TriggerArgs,

    /// Port the function listens on [default: 8080]
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,

    /// Environment variable, or NAME- to remove one (may be repeated)
    #[arg(long, value_name = "NAME=VALUE", value_parser = variable)]
    pub env: Vec<Entry<(String, String)>>,

    /// File with environment variables, a line NAME=VALUE each; --env overrides it (may be repeated)
    #[arg(long, value_name = "PATH")]
    pub env_file: Vec<PathBuf>,

    /// Service to bind; a database has to exist unless create-database is added (may be repeated)
    #[arg(long, value_name = "SERVICE[,prefix=P][,database=D]", value_parser = binding)]
    pub bind: Vec<ServiceBinding>,

    /// Package of inline code: a version, a range or the URL of an archive (may be repeated)
    #[arg(long, value_name = "NAME@VERSION", value_parser = dependency)]
    pub dependency: Vec<(String, String)>,

    /// File with npm's settings for these packages; write ${NPM_TOKEN} for a token and set it as a secret
    #[arg(long, value_name = "PATH")]
    pub npmrc: Option<PathBuf>,

    /// Kipper volume to mount, or NAME- to unmount it (may be repeated)
    #[arg(long, value_name = "NAME:/PATH", value_parser = volume)]
    pub volume: Vec<Entry<Volume>>,

    /// Seconds idle before scale-to-zero [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = duration::seconds)]
    pub idle_timeout: Option<i64>,

    /// CPU limit of a pod, such as 500m or 1.5 [default: no limit]
    #[arg(long, value_name = "QUANTITY")]
    pub cpu: Option<String>,

    /// CPU request of a pod [default: 50m]
    #[arg(long, value_name = "QUANTITY")]
    pub cpu_request: Option<String>,

    /// Memory limit of a pod, such as 512Mi [default: 256Mi]
    #[arg(long, value_name = "QUANTITY")]
    pub memory: Option<String>,

    /// Memory request of a pod [default: 64Mi]
    #[arg(long, value_name = "QUANTITY")]
    pub memory_request: Option<String>,

    /// What a pod may write to /tmp, installed packages included [default: 512Mi]
    #[arg(long, value_name = "QUANTITY")]
    pub tmp: Option<String>,

    /// Seconds a request waits for a pod that starts; installing packages counts [default: 50]
    #[arg(long, value_name = "SECONDS", value_parser = duration::seconds)]
    pub cold_start_timeout: Option<i64>,

    /// Minimum number of replicas, kept while idle [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub min_replicas: Option<i32>,

    /// Maximum number of replicas [default: 10]
    #[arg(long, value_name = "COUNT")]
    pub max_replicas: Option<i32>,

    /// Maximum number of requests in flight per pod; 0 means no limit [default: 0]
    #[arg(long, value_name = "COUNT")]
    pub concurrency: Option<i32>,

    /// Give a sudden load its replicas at once, ahead of the HorizontalPodAutoscaler [default: true]
    #[arg(long, value_name = "BOOL")]
    pub burst: Option<bool>,

    /// Add no security headers to responses
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub no_security_headers: Option<bool>,

    /// Write a line per request to the function's log (inline code)
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true"
    )]
    pub log_requests: Option<bool>,

    /// External origin the Content-Security-Policy allows, or ORIGIN- to remove one (may be repeated)
    #[arg(long, value_name = "ORIGIN", value_parser = origin)]
    pub csp_allow: Vec<Entry<String>>,

    /// Secret with registry credentials, or SECRET- to remove one (may be repeated)
    #[arg(long, value_name = "SECRET", value_parser = image_pull_secret)]
    pub image_pull_secret: Vec<Entry<ImagePullSecret>>,
}

/// The flags, with the file or folder that one of them names.
#[derive(Clone, Debug)]
pub(super) struct Change<'a> {
    args: &'a SpecArgs,
    code: Option<Code>,
    npmrc: Option<String>,
    /// Of the files, then those of the command line.
    env: Vec<Entry<(String, String)>>,
}

impl SpecArgs {
    /// Reads the code.
    ///
    /// # Errors
    /// When the file cannot be read, or nothing says what runs it.
    pub(super) fn read(&self) -> anyhow::Result<Change<'_>> {
        let code = self.code_file.as_ref().map(|path| Code::read(path, self.runtime)).transpose();
        let code = code.map_err(|error: CodeError| match error.is_usage() {
            true => anyhow::Error::from(UsageError::new(error)),
            false => error.into(),
        })?;
        let of_files = env_file::read_all(&self.env_file)?.into_iter().map(Entry::Add);
        let env = of_files.chain(self.env.iter().cloned()).collect();
        Ok(Change { args: self, code, npmrc: self.npmrc()?, env })
    }

    /// The settings of npm, if there are some.
    fn npmrc(&self) -> anyhow::Result<Option<String>> {
        let Some(path) = &self.npmrc else { return Ok(None) };
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        Ok(Some(text))
    }
}

impl Change<'_> {
    /// What is worth knowing of `spec` with this change, before it runs in a cluster.
    pub(super) fn warnings(&self, spec: &FunctionSpec) -> Vec<String> {
        let given = spec.source.iter().flat_map(|source| source.dependencies.keys());
        let given = given.map(String::as_str).collect();
        self.code.as_ref().map(|code| code.warnings(&given)).unwrap_or_default()
    }

    /// Names of the environment variables that it sets.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.env.iter().filter_map(Entry::added).map(|(name, _)| name.as_str())
    }

    /// A spec of nothing but the flags.
    ///
    /// # Errors
    /// When they make none.
    pub(super) fn create(&self) -> Result<FunctionSpec, UsageError> {
        if self.args.image.is_none() && self.code.is_none() {
            return Err(UsageError::new("either --image or --code-file is required"));
        }
        let mut spec = FunctionSpec::default();
        self.change(&mut spec, true).map_err(UsageError::new)?;
        Ok(spec)
    }

    /// Changes a spec where a flag says so.
    ///
    /// # Errors
    /// When a flag does not fit the function.
    pub(super) fn update(&self, spec: &mut FunctionSpec) -> Result<(), EditError> {
        self.change(spec, false)
    }

    fn change(&self, spec: &mut FunctionSpec, is_new: bool) -> Result<(), EditError> {
        let args = self.args;
        self.workload(spec)?;
        args.trigger.apply(spec, is_new).map_err(EditError::Misfit)?;
        if let Some(port) = args.port {
            spec.port = Some(port.into());
        }
        change_env(spec, &self.env)?;
        for binding in &args.bind {
            edits::bind(spec, binding);
        }
        edits::add_dependencies(spec, &args.dependency)?;
        for entry in &args.volume {
            match entry {
                Entry::Add(volume) => edits::mount(spec, volume),
                Entry::Remove(name) => edits::unmount(spec, name)?,
            }
        }
        if args.idle_timeout.is_some() {
            spec.idle_timeout_seconds = args.idle_timeout;
        }
        if args.cold_start_timeout.is_some() {
            let timeouts = spec.timeouts.get_or_insert_with(Timeouts::default);
            timeouts.cold_start_seconds = args.cold_start_timeout;
        }
        self.resources(spec);
        self.scaling(spec);
        if let Some(off) = args.no_security_headers {
            spec.no_security_headers = off;
        }
        if let Some(on) = args.log_requests {
            spec.log_requests = on;
        }
        for entry in &args.csp_allow {
            match entry {
                Entry::Add(origin) => add(&mut spec.csp_allowlist, origin),
                Entry::Remove(origin) => edits::remove_origin(spec, origin)?,
            }
        }
        for entry in &args.image_pull_secret {
            match entry {
                Entry::Add(secret) => add(&mut spec.image_pull_secrets, secret),
                Entry::Remove(name) => edits::remove_image_pull_secret(spec, name)?,
            }
        }
        Ok(())
    }

    /// Image or code. One takes the other's place.
    fn workload(&self, spec: &mut FunctionSpec) -> Result<(), EditError> {
        if let Some(image) = &self.args.image {
            spec.image = Some(image.clone());
            spec.source = None;
            spec.runtime = None;
            // Only the runtimes of inline code write it.
            spec.log_requests = false;
        }
        if let Some(code) = &self.code {
            spec.image = None;
            // Only an image does without it.
            spec.no_tmp = false;
            spec.runtime = Some(code.runtime.as_str().to_owned());
            code.put(spec.source.get_or_insert_default());
        } else if let Some(runtime) = self.args.runtime {
            inline(spec, "--runtime")?;
            spec.runtime = Some(runtime.as_str().to_owned());
        }
        if let Some(handler) = &self.args.handler {
            inline(spec, "--handler")?.handler = Some(handler.clone());
        }
        if let Some(npmrc) = &self.npmrc {
            inline(spec, "--npmrc")?.npmrc = Some(npmrc.clone());
        }
        Ok(())
    }

    fn resources(&self, spec: &mut FunctionSpec) {
        let args = self.args;
        let given = Resources {
            cpu_request: args.cpu_request.clone(),
            cpu_limit: args.cpu.clone(),
            memory_request: args.memory_request.clone(),
            memory_limit: args.memory.clone(),
            tmp_limit: args.tmp.clone(),
        };
        if given == Resources::default() {
            return;
        }
        let resources = spec.resources.get_or_insert_default();
        for (field, value) in [
            (&mut resources.cpu_request, given.cpu_request),
            (&mut resources.cpu_limit, given.cpu_limit),
            (&mut resources.memory_request, given.memory_request),
            (&mut resources.memory_limit, given.memory_limit),
            (&mut resources.tmp_limit, given.tmp_limit),
        ] {
            *field = value.or(field.take());
        }
    }

    fn scaling(&self, spec: &mut FunctionSpec) {
        let args = self.args;
        let (min, max, concurrency) = (args.min_replicas, args.max_replicas, args.concurrency);
        if min.or(max).or(concurrency).is_none() && args.burst.is_none() {
            return;
        }
        let scaling = spec.scaling.get_or_insert_with(Scaling::default);
        scaling.min_replicas = min.or(scaling.min_replicas);
        scaling.max_replicas = max.or(scaling.max_replicas);
        scaling.concurrency = concurrency.or(scaling.concurrency);
        scaling.burst = args.burst.or(scaling.burst);
    }
}

fn inline<'a>(spec: &'a mut FunctionSpec, flag: &str) -> Result<&'a mut Source, EditError> {
    let misfit = || EditError::Misfit(format!("{flag} is for --code-file, not for an image"));
    spec.source.as_mut().ok_or_else(misfit)
}

/// Adds what is not there.
fn add<T: PartialEq + Clone>(list: &mut Vec<T>, item: &T) {
    if !list.contains(item) {
        list.push(item.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;
    use serde_json::{Value, json};

    use super::*;

    #[derive(Debug, Parser)]
    struct Example {
        #[command(flatten)]
        args: SpecArgs,
    }

    fn parse(flags: &[&str]) -> Result<SpecArgs, clap::Error> {
        Example::try_parse_from([&["x"], flags].concat()).map(|example| example.args)
    }

    fn update(before: Value, flags: &[&str]) -> Result<Value, String> {
        let args = parse(flags).unwrap();
        let change = args.read().map_err(|error| error.to_string())?;
        let mut spec: FunctionSpec = serde_json::from_value(before).unwrap();
        change.update(&mut spec).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(spec).unwrap())
    }

    #[test]
    fn flags_make_a_spec() {
        let args = parse(&[
            "--image=registry/x:1",
            "--port=3000",
            "--env=A=b=c",
            "--bind=db,prefix=PG_,database=shop",
            "--volume=cache:/data",
            "--idle-timeout=60",
            "--memory=1Gi",
            "--tmp=2Gi",
            "--cold-start-timeout=120",
            "--max-replicas=3",
            "--no-security-headers",
            "--csp-allow=https://cdn.example.com",
            "--image-pull-secret=registry",
        ])
        .unwrap();
        let spec = args.read().unwrap().create().unwrap();
        assert_eq!(
            serde_json::to_value(&spec).unwrap(),
            json!({
                "image": "registry/x:1",
                "port": 3000,
                "env": { "A": "b=c" },
                "resources": { "memoryLimit": "1Gi", "tmpLimit": "2Gi" },
                "timeouts": { "coldStartSeconds": 120 },
                "serviceBindings": [{ "name": "db", "prefix": "PG_", "database": "shop" }],
                "volumes": [{ "name": "cache", "mountPath": "/data" }],
                "triggers": [{ "type": "http" }],
                "noSecurityHeaders": true,
                "cspAllowlist": ["https://cdn.example.com"],
                "idleTimeoutSeconds": 60,
                "scaling": { "maxReplicas": 3 },
                "imagePullSecrets": [{ "name": "registry" }],
            })
        );
        assert_eq!(spec.validate(), []);
    }

    #[test]
    fn code_says_what_runs_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let create = |path: &str, more: &[&str]| {
            let args = parse(&[&["--code-file", path], more].concat()).unwrap();
            let spec = args.read().map_err(|error| format!("{error:#}"))?.create();
            spec.map(|spec| spec.runtime.unwrap()).map_err(|error| error.to_string())
        };
        assert_eq!(create(&file("a.py", "x"), &[]).unwrap(), "python");
        assert_eq!(create(&file("a.mjs", "x"), &[]).unwrap(), "node");
        assert_eq!(create(&file("b", "x"), &["--runtime=python"]).unwrap(), "python");
        assert_eq!(create(&file("a.js", "x"), &["--runtime=node"]).unwrap(), "node");
        let other = create(&file("a.py", "x"), &["--runtime=node"]).unwrap_err();
        assert!(other.ends_with("a.py, whose ending is that of python"), "{other}");
        let unknown = create(&file("a", "x"), &[]).unwrap_err();
        assert_eq!(unknown, "--code-file needs --runtime node or python");
        let empty = create(&file("b.js", " \n"), &[]).unwrap_err();
        assert!(empty.ends_with("b.js: the file contains no code"), "{empty}");
        let large = create(&file("c.js", &"x".repeat(1_000_001)), &[]).unwrap_err();
        assert!(large.ends_with("code must be at most 1000000 bytes"), "{large}");
        let gone = create(folder.path().join("gone.js").to_str().unwrap(), &[]).unwrap_err();
        assert!(gone.contains("gone.js: No such file"), "{gone}");
        let nothing = parse(&[]).unwrap();
        let error = nothing.read().unwrap().create().unwrap_err();
        assert_eq!(error.to_string(), "either --image or --code-file is required");
    }

    #[test]
    fn variables_come_from_files_and_flags() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("env").to_str().unwrap().to_owned();
        fs::write(&path, "A=1\nB=2\n").unwrap();
        let args = parse(&["--image=x", "--env=B=3", "--env-file", &path]).unwrap();
        let spec = args.read().unwrap().create().unwrap();
        assert_eq!(serde_json::to_value(spec.env).unwrap(), json!({ "A": "1", "B": "3" }));
        // What a flag removes is gone, though a file sets it.
        let before = json!({ "image": "x", "env": { "C": "4" } });
        let after = update(before, &["--env=B-", "--env=C-", "--env-file", &path]).unwrap();
        assert_eq!(after["env"], json!({ "A": "1" }));
    }

    #[test]
    fn the_settings_of_npm_are_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("a.js"), "x").unwrap();
        fs::write(path("npmrc"), "//r.test/:_authToken=${NPM_TOKEN}\n").unwrap();
        let (code, npmrc) = (path("a.js"), path("npmrc"));
        let args = parse(&["--code-file", &code, "--npmrc", &npmrc]).unwrap();
        let spec = args.read().unwrap().create().unwrap();
        assert_eq!(spec.source.unwrap().npmrc.unwrap(), "//r.test/:_authToken=${NPM_TOKEN}\n");
        let image = parse(&["--image=x", "--npmrc", &npmrc]).unwrap();
        let misfit = image.read().unwrap().create().unwrap_err();
        assert_eq!(misfit.to_string(), "--npmrc is for --code-file, not for an image");
    }

    #[test]
    fn an_update_leaves_alone_what_no_flag_is_about() {
        let image = json!({
            "image": "x:1", "env": { "A": "1" }, "triggers": [{ "type": "http" }],
            "resources": { "cpuLimit": "1" }, "noSecurityHeaders": true,
        });
        let updated = update(image.clone(), &["--image=x:2", "--memory=1Gi", "--env=B=2"]).unwrap();
        assert_eq!(
            updated,
            json!({
                "image": "x:2", "env": { "A": "1", "B": "2" }, "triggers": [{ "type": "http" }],
                "resources": { "cpuLimit": "1", "memoryLimit": "1Gi" }, "noSecurityHeaders": true,
            })
        );
        let mounted = json!({
            "image": "x:1", "env": { "A": "1" },
            "volumes": [{ "name": "nosuch", "mountPath": "/data2" }],
            "imagePullSecrets": [{ "name": "registry" }],
            "cspAllowlist": ["https://cdn.example.com"],
        });
        let take = ["--volume=nosuch-", "--env=A-", "--image-pull-secret=registry-", "--env=B=2"];
        let origin = ["--csp-allow=https://cdn.example.com-"];
        let left = update(mounted.clone(), &[&take[..], &origin].concat()).unwrap();
        assert_eq!(left, json!({ "image": "x:1", "env": { "B": "2" } }));
        let misfit = update(mounted, &["--volume=other-"]).unwrap_err();
        assert_eq!(misfit, "it has no volume other; it has nosuch");
        let on = update(image.clone(), &["--no-security-headers=false"]).unwrap();
        assert_eq!(on["noSecurityHeaders"], Value::Null);
        let misfit = update(image.clone(), &["--handler=main"]).unwrap_err();
        assert_eq!(misfit, "--handler is for --code-file, not for an image");
        let packages = update(image, &["--dependency=pg@8"]).unwrap_err();
        assert_eq!(packages, "it runs an image, which brings its own packages");
        let logged = update(json!({ "source": { "code": "x" } }), &["--log-requests"]).unwrap();
        assert_eq!(logged, json!({ "source": { "code": "x" }, "logRequests": true }));
        assert_eq!(update(logged, &["--image=x:1"]).unwrap(), json!({ "image": "x:1" }));
        let code = json!({ "source": { "code": "x", "dependencies": { "pg": "8" } } });
        let replaced = update(code, &["--image=x:1"]).unwrap();
        assert_eq!(replaced, json!({ "image": "x:1" }));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for flags in [
            &["--image=x", "--code-file=a.js"][..],
            &["--runtime=ruby"],
            &["--port=0"],
            &["--port=70000"],
            &["--env=NOVALUE"],
            &["--env=KIPPER_MODE=x"],
            &["--dependency=pg"],
            &["--dependency=@scope/x"],
            &["--dependency=pg@"],
            &["--volume=cache"],
            &["--bind=db,create-database"],
            &["--volume=cache:data"],
            &["--bind="],
            &["--bind=db,name=x"],
            &["--trigger=kafka"],
            &["--schedule=often"],
            &["--schedule=0 0 30 2 *"],
            &["--time-zone=Europe/Berln"],
            &["--deadline=0"],
        ] {
            parse(flags).unwrap_err();
        }
        let scoped = parse(&["--dependency=@scope/x@1.0.0", "--dependency=a[b]@>=1,<2"]).unwrap();
        let expected = [("@scope/x", "1.0.0"), ("a[b]", ">=1,<2")];
        assert_eq!(scoped.dependency, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
    }
}
