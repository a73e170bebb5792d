//! What the chart tells of the cluster: a ConfigMap that everybody who can log in may read.

use std::{collections::BTreeMap, fmt::Display, str::FromStr};

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;

use crate::{
    ApiError, Connection,
    loki::{Address, Tenant},
};

/// The ConfigMap.
const NAME: &str = "kipper-cluster-info";
/// Namespace that the chart's documentation installs into.
pub const SYSTEM_NAMESPACE: &str = "kipper-system";

/// A cluster as its administrator set it up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// Version of Kipper in it.
    pub version: Option<String>,
    /// Domain under which functions have their hosts.
    pub domain: String,
    /// Domains under which every cluster has one label.
    pub shared_parents: Vec<String>,
    /// Where lines of pods are collected, if anywhere.
    pub loki: Option<Address>,
    /// Whose lines are meant there.
    pub loki_tenant: Option<Tenant>,
    /// Image with the program of the pollers; a chart of an earlier version does not tell it.
    pub poller_image: Option<String>,
}

impl Cluster {
    /// What the chart in this namespace tells; `None` where there is none, or one that tells nothing.
    ///
    /// # Errors
    /// Whatever the cluster says, unless it is that this may not be read.
    pub async fn read(connection: &Connection, namespace: &str) -> Result<Option<Self>, ApiError> {
        let api: Api<ConfigMap> = Api::namespaced(connection.client.clone(), namespace);
        let what = format!("ConfigMap {NAME}");
        let found = api.get_opt(NAME).await;
        let found = found.map_err(|error| ApiError::read(error, &what, namespace));
        let found = ApiError::allowed(found)?.flatten();
        let Some(data) = found.and_then(|found| found.data) else { return Ok(None) };
        let cluster = Self::of(&data);
        cluster.map(Some).map_err(|error| {
            ApiError::Other(format!("{what} in namespace {namespace} cannot be read: {error}"))
        })
    }

    fn of(data: &BTreeMap<String, String>) -> Result<Self, String> {
        let parents = data.get("sharedParents").map_or("", String::as_str);
        let parents = parents.split(',').filter(|parent| !parent.is_empty());
        Ok(Self {
            version: data.get("version").cloned(),
            domain: data.get("clusterDomain").cloned().ok_or("it has no clusterDomain")?,
            shared_parents: parents.map(str::to_owned).collect(),
            loki: parsed(data, "loki")?,
            loki_tenant: parsed(data, "lokiTenant")?,
            poller_image: data.get("pollerImage").cloned(),
        })
    }
}

fn parsed<T>(data: &BTreeMap<String, String>, key: &str) -> Result<Option<T>, String>
where
    T: FromStr,
    T::Err: Display,
{
    let parsed = data.get(key).map(|text| text.parse()).transpose();
    parsed.map_err(|error: T::Err| error.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn data(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_cluster_is_what_its_chart_tells() {
        let reported = [("clusterDomain", "a.example"), ("sharedParents", "example,kipper.run")];
        let cluster = Cluster::of(&data(&reported)).unwrap();
        assert_eq!((cluster.domain.as_str(), cluster.loki), ("a.example", None));
        assert_eq!(cluster.shared_parents, ["example", "kipper.run"]);
        let reported =
            [reported[0], ("sharedParents", ""), ("loki", "logs/loki"), ("lokiTenant", "shop")];
        let cluster = Cluster::of(&data(&reported)).unwrap();
        assert_eq!(cluster.loki, Some("logs/loki".parse().unwrap()));
        assert_eq!(cluster.loki_tenant, Some("shop".parse().unwrap()));
        assert!(cluster.shared_parents.is_empty());
    }

    #[test]
    fn what_makes_no_sense_is_told() {
        assert_eq!(Cluster::of(&data(&[])).unwrap_err(), "it has no clusterDomain");
        let error = Cluster::of(&data(&[("clusterDomain", "a"), ("loki", "loki")])).unwrap_err();
        assert!(error.contains("neither the URL of a Loki nor a Service"), "{error}");
    }
}
