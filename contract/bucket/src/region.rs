//! The region that a service names when it was asked in another one.
//!
//! S3 and MinIO say it in the header `x-amz-bucket-region` or in the element `Region` of the error
//! (Amazon S3 API Reference, "List of error codes": `AuthorizationHeaderMalformed`,
//! `PermanentRedirect`).

use aws_sdk_s3::config::http::HttpResponse;

const HEADER: &str = "x-amz-bucket-region";
/// No region's name is longer.
const MAX_BYTES: usize = 64;

/// The region that a refusal names.
pub(crate) fn named(answer: &HttpResponse) -> Option<String> {
    if !matches!(answer.status().as_u16(), 301 | 307 | 400 | 403) {
        return None;
    }
    let header = answer.headers().get(HEADER).and_then(sound);
    header.or_else(|| element(std::str::from_utf8(answer.body().bytes()?).ok()?))
}

fn element(body: &str) -> Option<String> {
    let (_, rest) = body.split_once("<Region>")?;
    sound(rest.split_once("</Region>")?.0)
}

fn sound(name: &str) -> Option<String> {
    let is_sound = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let fits = !name.is_empty() && name.len() <= MAX_BYTES && name.bytes().all(is_sound);
    fits.then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::element;

    #[test]
    fn the_region_of_an_error_is_read() {
        let error = |region: &str| {
            format!(
                "<Error><Code>AuthorizationHeaderMalformed</Code><Message>expecting \
                 'eu'</Message><Region>{region}</Region></Error>"
            )
        };
        assert_eq!(element(&error("eu-central-1")).as_deref(), Some("eu-central-1"));
        for none in ["", "a b", "<x/>", &"r".repeat(65)] {
            assert_eq!(element(&error(none)), None, "{none}");
        }
        assert_eq!(element("<Error/>"), None);
    }
}
