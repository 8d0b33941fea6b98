//! A server that gives one prepared answer to every request and keeps what it was asked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;

pub struct TestServer {
    pub url: String,
    requests: Receiver<TestRequest>,
}

pub struct TestRequest {
    /// Method and target, for instance `GET /x`.
    pub line: String,
    pub body: String,
}

impl TestRequest {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

impl TestServer {
    /// Answers with this status line, these header lines and this body.
    pub fn answering(status: &str, headers: &[&str], body: &str) -> Self {
        let mut answer = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
        for header in headers {
            answer.push_str(&format!("{header}\r\n"));
        }
        if !status.starts_with("204") {
            answer.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        Self::answering_raw(format!("{answer}\r\n{body}"))
    }

    /// Answers with exactly these bytes.
    pub fn answering_raw(answer: String) -> Self {
        Self::answering_by(move |_| answer.clone())
    }

    /// Answers 200 with the JSON that is made of each request.
    pub fn answering_json(make: impl Fn(&TestRequest) -> Value + Send + 'static) -> Self {
        Self::answering_by(move |request| {
            let body = make(request).to_string();
            let head = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: ";
            format!("{head}{}\r\n\r\n{body}", body.len())
        })
    }

    fn answering_by(make: impl Fn(&TestRequest) -> String + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, requests) = channel();
        // Ends with the test program.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let request = read_request(&stream);
                // Whoever refuses a long answer stops reading it.
                let _ = stream.write_all(make(&request).as_bytes());
                if sender.send(request).is_err() {
                    return;
                }
            }
        });
        Self { url, requests }
    }

    /// The oldest request that was not looked at yet.
    pub fn request(&self) -> TestRequest {
        self.requests.recv().unwrap()
    }

    pub fn was_asked_nothing(&self) -> bool {
        self.requests.try_recv().is_err()
    }
}

fn read_request(stream: &TcpStream) -> TestRequest {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let length = lines
        .iter()
        .find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length: ")?
                .parse()
                .ok()
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    TestRequest {
        line: lines[0].trim_end_matches(" HTTP/1.1").to_owned(),
        body: String::from_utf8(body).unwrap(),
    }
}
