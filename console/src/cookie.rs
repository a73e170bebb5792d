//! Cookies of the console's host alone. Pure.
//!
//! A name that begins with `__Host-` cannot be set by a sibling host, and scripts cannot read a cookie
//! of ours.

use http::{
    HeaderMap, HeaderValue,
    header::{COOKIE, SET_COOKIE},
};

/// With which requests a browser sends a cookie.
#[derive(Clone, Copy)]
pub(crate) enum SameSite {
    /// With those of the console's own page.
    Strict,
    /// Also when another site leads the browser here.
    Lax,
}

/// Sets a cookie, or takes it away.
pub(crate) fn set(cookies: &mut HeaderMap, name: &str, value: Option<&str>, same_site: SameSite) {
    let same_site = match same_site {
        SameSite::Strict => "Strict",
        SameSite::Lax => "Lax",
    };
    let attributes = format!("Path=/; Secure; HttpOnly; SameSite={same_site}");
    let text = match value {
        Some(value) => format!("{name}={value}; {attributes}"),
        None => format!("{name}=; Max-Age=0; {attributes}"),
    };
    // Base64 and our own names are always a value.
    if let Ok(mut value) = HeaderValue::from_str(&text) {
        value.set_sensitive(true);
        cookies.append(SET_COOKIE, value);
    }
}

/// The values of these names, each at its name's place; `None` where a name stands twice, because one
/// of the two is not ours.
pub(crate) fn values<'a, const N: usize>(
    headers: &'a HeaderMap,
    names: &[String; N],
) -> Option<[Option<&'a str>; N]> {
    let mut found = [None; N];
    let fields = headers.get_all(COOKIE).iter().filter_map(|field| field.to_str().ok());
    for (name, value) in fields.flat_map(|field| field.split(';')).filter_map(|p| p.split_once('='))
    {
        let Some(at) = names.iter().position(|known| known == name.trim()) else { continue };
        if found[at].replace(value.trim()).is_some() {
            return None;
        }
    }
    Some(found)
}
