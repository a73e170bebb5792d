//! MinIO.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::Command,
};

use kipper_servers::{
    Minio,
    minio::{Options, Webhook},
};

use crate::support::{leaves_nothing, output, restarts};

fn s3(server: &Minio, method: &str, path: &str, body: &str) -> Result<String, String> {
    let mut curl = Command::new("curl");
    curl.args(["--fail", "--silent", "--show-error", "--noproxy", "*", "--cacert"]);
    curl.arg(server.ca_file());
    curl.args(["--aws-sigv4", &format!("aws:amz:{}:s3", Minio::REGION)]);
    curl.args(["--user", &format!("{}:{}", Minio::ACCESS_KEY, Minio::SECRET_KEY)]);
    curl.args(["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "--request", method]);
    if method == "PUT" {
        curl.args(["--data-binary", body]);
    }
    output(curl.arg(format!("{}/{path}", server.endpoint())))
}

#[test]
fn keeps_objects_when_it_is_killed() {
    for tls in [false, true] {
        let minio = Minio::start(&Options { tls, ..Options::default() }).unwrap();
        s3(&minio, "PUT", "photos", "").unwrap();
        s3(&minio, "PUT", "photos/cat", "meow").unwrap();
        restarts(&minio);
        assert_eq!(s3(&minio, "GET", "photos/cat", "").unwrap(), "meow");
        leaves_nothing(minio);
    }
}

#[test]
fn tells_its_webhook_what_happened() {
    for keeps_events in [false, true] {
        let receiver = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}/events", receiver.local_addr().unwrap());
        let token = "sesame".to_owned();
        let webhook = Some(Webhook { endpoint, token, keeps_events });
        let minio = Minio::start(&Options { webhook, ..Options::default() }).unwrap();
        s3(&minio, "PUT", "photos", "").unwrap();
        let rules = format!(
            "<NotificationConfiguration><QueueConfiguration><Queue>{}</Queue>\
             <Event>s3:ObjectCreated:*</Event></QueueConfiguration></NotificationConfiguration>",
            Minio::WEBHOOK_ARN
        );
        s3(&minio, "PUT", "photos?notification=", &rules).unwrap();
        s3(&minio, "PUT", "photos/cat", "meow").unwrap();
        let (head, event) = next_request(&receiver);
        assert!(head.starts_with("POST /events "), "{head}");
        assert!(head.to_lowercase().contains("authorization: bearer sesame"), "{head}");
        assert!(event.contains("photos/cat") && event.contains("s3:ObjectCreated:Put"), "{event}");
        leaves_nothing(minio);
    }
}

/// Head and body of the first request that has a body; the server also asks whether it is there.
fn next_request(receiver: &TcpListener) -> (String, String) {
    loop {
        let (mut stream, _) = receiver.accept().unwrap();
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("content-length").then(|| value.parse().unwrap())
        });
        let mut body = vec![0; length.unwrap_or(0)];
        reader.read_exact(&mut body).unwrap();
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        // Whether the server still listens decides nothing here.
        let _ = stream.write_all(answer);
        if !body.is_empty() {
            return (head, String::from_utf8(body).unwrap());
        }
    }
}
