//! Functions from YAML.

use kipper_function::manifest::{self, ManifestError};

const GOOD: &str = "\
---
# An empty document is no document.
---
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: { name: hello, namespace: shop-dev, labels: { team: web } }
spec:
  runtime: node
  source:
    code: |
      module.exports = async () => ({ statusCode: 200 })
    dependencies: { pg: '8.11.5' }
  triggers:
    - type: cron
      schedule: 0 2 * * *
---
apiVersion: v1
kind: ConfigMap
metadata: { name: other }
---
apiVersion: serving.knative.dev/v1
kind: Function
---
just text
---
apiVersion: kipper.run/v1alpha1
kind: Function
metadata: { name: second }
spec: { image: registry/second, port: 3000 }
";

#[test]
fn reads_functions_and_names_what_it_skipped() {
    let manifest = manifest::parse(GOOD).unwrap();
    let names: Vec<_> =
        manifest.functions.iter().map(|f| f.metadata.name.clone().unwrap()).collect();
    assert_eq!(names, ["hello", "second"]);
    assert!(manifest.functions.iter().all(|function| function.validate().is_empty()));
    assert_eq!(manifest.functions[1].spec.port(), 3000);
    let skipped: Vec<_> = manifest
        .skipped
        .iter()
        .map(|s| (s.document, s.api_version.as_str(), s.kind.as_str(), s.name.as_str()))
        .collect();
    assert_eq!(
        skipped,
        [
            (2, "v1", "ConfigMap", "other"),
            (3, "serving.knative.dev/v1", "Function", "-"),
            (4, "-", "-", "-")
        ]
    );
}

#[test]
fn says_which_document_and_field_is_wrong() {
    let head = "apiVersion: kipper.run/v1alpha1\nkind: Function\nmetadata: { name: f }\n";
    let cases = [
        (
            "spec: { image: i, idleTimeout: 5 }",
            "spec.idleTimeout: is not a known field; did you mean idleTimeoutSeconds?",
        ),
        (
            "spec: { image: i, triggers: [{ type: cron, timezone: UTC }] }",
            "spec.triggers[0].timezone: is not a known field; did you mean timeZone?",
        ),
        ("spec: { image: i, replicas: 5 }", "spec.replicas: is not a known field"),
        ("spec: { image: i, env: { A: 1 } }", "spec.env.A: must be a string; put it in quotes"),
        ("spec: { image: i, port: '80' }", "spec.port: must be an integer"),
        ("spec: { image: i, port: 80.5 }", "spec.port: must be an integer"),
        ("spec: { image: i, scaling: { targetRequestRate: 2 } }", ""),
        ("spec: { image: i, triggers: { type: http } }", "spec.triggers: must be an array"),
        ("spec: { image: i, triggers: [{ schedule: x }] }", "spec.triggers[0].type: is required"),
        (
            "spec: { image: i, noSecurityHeaders: 'yes' }",
            "spec.noSecurityHeaders: must be a boolean",
        ),
        ("", "spec: is required"),
    ];
    for (spec, expected) in cases {
        let text = format!("kind: Other\n---\n{head}{spec}\n");
        match manifest::parse(&text) {
            Ok(_) => assert_eq!(expected, "", "{spec}"),
            Err(error) => assert_eq!(
                error.to_string(),
                format!("document 2 (Function \"f\"): {expected}"),
                "{spec}"
            ),
        }
    }
    let old =
        "apiVersion: kipper.run/v1\nkind: Function\nmetadata: { name: f }\nspec: { image: i }";
    let error = manifest::parse(old).unwrap_err().to_string();
    assert!(error.contains("must be kipper.run/v1alpha1, not kipper.run/v1"), "{error}");
}

#[test]
fn what_was_meant_to_be_a_function_is_not_skipped() {
    let api = "apiVersion: must be kipper.run/v1alpha1, not";
    let kind = |given: &str| format!("kind: {given} is not known; did you mean Function?");
    for (head, expected) in [
        ("apiVersion: kipper.run/v1alpha1\nkind: Functon", kind("Functon")),
        ("apiVersion: kipper.run/v1alpha1\nkind: function", kind("function")),
        ("apiVersion: kipper.run/v1alpha1", "kind: is required".to_owned()),
        ("apiVersion: kiper.run/v1alpha1\nkind: Function", format!("{api} kiper.run/v1alpha1")),
        ("apiVersion: kipper.run\nkind: Function", format!("{api} kipper.run")),
        ("apiVersion: v1\nkind: Function", format!("{api} v1")),
        ("kind: Function", "apiVersion: is required: kipper.run/v1alpha1".to_owned()),
        (
            "apiVersion: kipper.io/v1\nkind: Functions",
            format!("{api} kipper.io/v1; {}", kind("Functions")),
        ),
        // Of others.
        ("apiVersion: serving.knative.dev/v1\nkind: Function", String::new()),
        ("apiVersion: fission.io/v1\nkind: Functions", String::new()),
        ("apiVersion: kipper.run/v1alpha1\nkind: Service", String::new()),
        ("apiVersion: v1\nkind: ConfigMap", String::new()),
        ("kind: Other", String::new()),
    ] {
        let text = format!("{head}\nmetadata: {{ name: f }}\nspec: {{ image: i }}\n");
        let found = manifest::parse(&text).map(|found| found.skipped.len());
        let expected = match expected.as_str() {
            "" => Ok(1),
            problems => Err(format!("document 1 (Function \"f\"): {problems}")),
        };
        assert_eq!(found.map_err(|error| error.to_string()), expected, "{head}");
    }
}

#[test]
fn fields_beside_the_spec_are_checked_too() {
    let head = "apiVersion: kipper.run/v1alpha1\nkind: Function\n";
    let text = format!("{head}metadata: {{ name: f, label: {{}} }}\nsepc: {{ image: i }}\n");
    assert_eq!(
        manifest::parse(&text).unwrap_err().to_string(),
        "document 1 (Function \"f\"): sepc: is not a known field; did you mean spec?; \
         metadata.label: is not a known field; did you mean labels?; spec: is required"
    );
}

#[test]
fn a_syntax_error_has_its_line() {
    let error = manifest::parse("kind: Function\nspec: [1, 2\nmore: x: y").unwrap_err();
    assert!(matches!(error, ManifestError::Syntax(_)));
    assert!(error.to_string().contains("line"), "{error}");
    let twice = manifest::parse("a: 1\na: 2\n").unwrap_err().to_string();
    assert_eq!(twice, "not valid YAML: duplicate mapping key: a at line 2, column 1");
}

#[test]
fn hostile_text_is_refused_within_bounds() {
    let many = "---\nkind: X\n".repeat(manifest::MAX_DOCUMENTS + 1);
    assert!(matches!(
        manifest::parse(&many),
        Err(ManifestError::TooMany | ManifestError::Syntax(_))
    ));
    let deep = "[".repeat(100_000);
    assert!(manifest::parse(&deep).is_err());
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..12 {
        let below = level - 1;
        let line = format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", "));
        bomb.push_str(&line);
    }
    assert!(manifest::parse(&bomb).is_err());
}
