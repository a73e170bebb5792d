//! The bytes of a request: what a browser or an API client sends, rendered once per connection.

use super::args::{LoadArgs, Method};

/// Renders the request that connection number `connection` repeats.
pub(super) fn render(args: &LoadArgs, connection: usize) -> Vec<u8> {
    let host = &args.host[connection % args.host.len()];
    let (method, body_bytes) = match args.method {
        Method::Get => ("GET", 0),
        Method::Post => ("POST", args.body_bytes as usize),
    };
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\n\
         Host: {host}\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 kipper-bench\r\n\
         Accept: application/json, text/plain;q=0.9, */*;q=0.8\r\n\
         Accept-Encoding: gzip, deflate, br\r\n\
         Accept-Language: en-GB,en;q=0.7\r\n\
         Referer: https://app.example.com/orders?page=2\r\n\
         Cookie: session=6f1c2f0f4d5b4b7b9a3e; theme=dark\r\n\
         X-Request-Id: 2f9d3c1e-7a40-4c57-8f5a-{connection:012x}\r\n",
        path = args.path,
    );
    if args.method == Method::Post {
        request.push_str("Content-Type: application/json\r\n");
        request.push_str(&format!("Content-Length: {body_bytes}\r\n"));
    }
    if args.once {
        request.push_str("Connection: close\r\n");
    }
    request.push_str("\r\n");
    let mut request = request.into_bytes();
    request.resize(request.len() + body_bytes, b'b');
    request
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::Parser;

    use super::*;
    use crate::http1;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        load: LoadArgs,
    }

    fn args(more: &[&str]) -> LoadArgs {
        let fixed = ["p", "--addr", "127.0.0.1:1", "--host", "a", "--host", "b"];
        Cli::try_parse_from(fixed.iter().chain(more)).unwrap().load
    }

    #[test]
    fn connections_take_turns_with_the_hosts() {
        let args = args(&[]);
        let hosts: Vec<bool> = (0..4)
            .map(|index| String::from_utf8(render(&args, index)).unwrap().contains("Host: a\r\n"))
            .collect();
        assert_eq!(hosts, [true, false, true, false]);
    }

    #[test]
    fn requests_are_whole_messages() {
        for more in [&[][..], &["--method", "post", "--body-bytes", "300"]] {
            let request = render(&args(more), 0);
            let head = http1::request_head(&request).unwrap().unwrap();
            assert_eq!(head.head_bytes + head.body_bytes, request.len());
            assert!(!head.close);
        }
        let request = render(&args(&["--once"]), 0);
        assert!(http1::request_head(&request).unwrap().unwrap().close);
    }
}
