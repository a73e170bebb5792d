//! Certificates of the counts stream between interceptors and scaler adapters: made by the
//! leader, kept in three Secrets of its own namespace. From the adapters' private key follow the tokens
//! by which pollers report to them.
//!
//! The CA's key never leaves its Secret. Certificates live ten years, because the adapter reads
//! its own at start only; a year before their end new ones are stored, which the next restart of
//! the pods takes.

use std::collections::BTreeMap;

use k8s_openapi::{
    ByteString,
    api::core::v1::Secret,
    jiff::{Timestamp, ToSpan as _, tz::TimeZone},
};
use kipper_function::names;
use kipper_trigger::token::BacklogKey;
use kube::{
    Api, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams},
};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

const CA: &str = "kipper-counts-ca";
const ADAPTER: &str = "kipper-counts-adapter";
const INTERCEPTOR: &str = "kipper-counts-interceptor";
/// The Service by which interceptors find the adapters.
const ADAPTER_SERVICE: &str = "kipper-scaler-adapter-fleet";
/// Annotation with the day a certificate ends.
const NOT_AFTER: &str = "kipper.run/not-after";
const YEARS: i16 = 10;

/// Why there are no certificates.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("make a certificate")]
    Make(#[from] rcgen::Error),
    #[error("store a certificate")]
    Store(#[from] kube::Error),
    #[error("Secret {0} holds no usable CA; delete it to have a new one")]
    Ca(&'static str),
}

/// Makes what is missing or near its end, and returns what tokens of pollers follow from. `namespace` is
/// the adapters'.
pub(crate) async fn ensure(
    api: &Api<Secret>,
    namespace: &str,
) -> Result<BacklogKey, CertificateError> {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    let last_day = today.saturating_add(YEARS.years());
    let soon = today.saturating_add(1.year()).to_string();
    let current = |secret: &Secret| {
        secret.annotations().get(NOT_AFTER).is_some_and(|not_after| *not_after > soon)
    };
    let stored = api.get_opt(CA).await?.filter(current);
    let (ca_pem, ca_key, new_ca) = match stored {
        Some(secret) => {
            let text = |key| text(&secret, key).ok_or(CertificateError::Ca(CA));
            (text("tls.crt")?, KeyPair::from_pem(&text("tls.key")?)?, false)
        }
        None => {
            let key = KeyPair::generate()?;
            let pem = ca_params(last_day)?.self_signed(&key)?.pem();
            store(api, CA, &pem, &key, &pem, last_day).await?;
            tracing::info!("made the CA of the counts stream");
            (pem, key, true)
        }
    };
    // What a certificate says of its issuer is the name, which never changes, and the key.
    let issuer = Issuer::new(ca_params(last_day)?, ca_key);
    let names = ["", ".svc", ".svc.cluster.local"]
        .map(|suffix| format!("{ADAPTER_SERVICE}.{namespace}{suffix}"));
    let mut names = names.to_vec();
    names.push(ADAPTER_SERVICE.to_owned());
    let mut adapter_key = String::new();
    for (secret, names, usage) in [
        (ADAPTER, names, ExtendedKeyUsagePurpose::ServerAuth),
        (INTERCEPTOR, Vec::new(), ExtendedKeyUsagePurpose::ClientAuth),
    ] {
        let stored = api.get_opt(secret).await?.filter(|_| !new_ca).filter(current);
        let stored = stored.filter(|s| text(s, "ca.crt").as_deref() == Some(&*ca_pem));
        if let Some(key) = stored.and_then(|stored| text(&stored, "tls.key")) {
            if secret == ADAPTER {
                adapter_key = key;
            }
            continue;
        }
        let key = KeyPair::generate()?;
        let mut params = params(secret, names, last_day)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        let pem = params.signed_by(&key, &issuer)?.pem();
        store(api, secret, &pem, &key, &ca_pem, last_day).await?;
        tracing::info!(secret, "made a certificate of the counts stream");
        if secret == ADAPTER {
            adapter_key = key.serialize_pem();
        }
    }
    Ok(BacklogKey::derive(adapter_key.as_bytes()))
}

type Date = k8s_openapi::jiff::civil::Date;

fn ca_params(last_day: Date) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params("kipper counts", Vec::new(), last_day)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(params)
}

fn params(
    common_name: &str,
    names: Vec<String>,
    last_day: Date,
) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, common_name);
    let number = |n: i8| u8::try_from(n).unwrap_or(1);
    let day = |date: Date| {
        rcgen::date_time_ymd(date.year().into(), number(date.month()), number(date.day()))
    };
    // A day early: clocks differ.
    let first_day = last_day.saturating_sub(YEARS.years()).saturating_sub(1.day());
    (params.not_before, params.not_after) = (day(first_day), day(last_day));
    Ok(params)
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    let bytes = secret.data.as_ref()?.get(key)?;
    String::from_utf8(bytes.0.clone()).ok()
}

async fn store(
    api: &Api<Secret>,
    name: &str,
    certificate: &str,
    key: &KeyPair,
    ca: &str,
    last_day: Date,
) -> kube::Result<()> {
    let data = [("tls.crt", certificate), ("tls.key", &key.serialize_pem()), ("ca.crt", ca)]
        .map(|(key, value)| (key.to_owned(), ByteString(value.as_bytes().to_vec())));
    let secret = Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(BTreeMap::from([
                (names::MANAGED_BY.to_owned(), names::KIPPER.to_owned()),
                (names::PART_OF.to_owned(), names::KIPPER.to_owned()),
            ])),
            annotations: Some(BTreeMap::from([(NOT_AFTER.to_owned(), last_day.to_string())])),
            ..ObjectMeta::default()
        },
        data: Some(data.into()),
        type_: Some("kubernetes.io/tls".to_owned()),
        ..Secret::default()
    };
    let params = PatchParams::apply(names::FIELD_MANAGER).force();
    api.patch(name, &params, &Patch::Apply(&secret)).await.map(drop)
}
