//! A second yardstick: relays on one current-thread runtime that know nothing of MCP. `/pipe` writes the body as a line to a child and
//! answers with the line that comes back, in turn; any other path goes to a server over HTTP, on a connection of its own for each of the
//! client's. What the hub costs beyond that, it costs for what it does besides.

use std::{
    collections::VecDeque,
    convert::Infallible,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::{Arc, Mutex},
};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Request, Response, body::Incoming, client, header, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot},
};

type Server = Arc<tokio::sync::Mutex<client::conn::http1::SendRequest<Full<Bytes>>>>;
type Waiting = Arc<Mutex<VecDeque<oneshot::Sender<Bytes>>>>;

#[expect(clippy::print_stdout, reason = "the port is told to the process that measures")]
pub(crate) fn run(remote: SocketAddr) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let pipe = Pipe::start();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("{}", listener.local_addr().unwrap().port());
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let pipe = pipe.clone();
            tokio::spawn(async move {
                let server = connect(remote).await;
                let service = service_fn(move |request| answer(request, pipe.clone(), server.clone()));
                http1::Builder::new().serve_connection(TokioIo::new(stream), service).await
            });
        }
    });
}

async fn answer(request: Request<Incoming>, pipe: Pipe, server: Server) -> Result<Response<Full<Bytes>>, Infallible> {
    let is_pipe = request.uri().path() == "/pipe";
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let answer = if is_pipe {
        pipe.ask(body).await
    } else {
        let mut request = Request::post(parts.uri).header(header::HOST, "localhost");
        request.headers_mut().unwrap().extend(parts.headers);
        let answer = server.lock().await.send_request(request.body(Full::new(body)).unwrap()).await.unwrap();
        answer.into_body().collect().await.unwrap().to_bytes()
    };
    Ok(Response::builder().header(header::CONTENT_TYPE, "application/json").body(Full::new(answer)).unwrap())
}

async fn connect(server: SocketAddr) -> Server {
    let stream = TcpStream::connect(server).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    Arc::new(tokio::sync::Mutex::new(sender))
}

#[derive(Clone)]
struct Pipe(mpsc::UnboundedSender<(Bytes, oneshot::Sender<Bytes>)>);

impl Pipe {
    fn start() -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap());
        let mut child = child.arg("child").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, queue) = mpsc::unbounded_channel();
        let waiting = Waiting::default();
        tokio::spawn(write(queue, child.stdin.take().unwrap(), waiting.clone()));
        tokio::spawn(read(child.stdout.take().unwrap(), waiting));
        Self(lines)
    }

    async fn ask(&self, line: Bytes) -> Bytes {
        let (answer, answered) = oneshot::channel();
        self.0.send((line, answer)).unwrap();
        answered.await.unwrap()
    }
}

/// What came together goes out together.
async fn write(mut queue: mpsc::UnboundedReceiver<(Bytes, oneshot::Sender<Bytes>)>, mut stdin: ChildStdin, waiting: Waiting) {
    let (mut lines, mut batch) = (Vec::new(), BytesMut::new());
    while queue.recv_many(&mut lines, 256).await > 0 {
        for (line, answer) in lines.drain(..) {
            batch.extend_from_slice(&line);
            batch.extend_from_slice(b"\n");
            waiting.lock().unwrap().push_back(answer);
        }
        stdin.write_all(&batch.split()).await.unwrap();
    }
}

async fn read(mut stdout: ChildStdout, waiting: Waiting) {
    let mut bytes = BytesMut::with_capacity(1 << 20);
    let mut seen = 0;
    while stdout.read_buf(&mut bytes).await.unwrap() > 0 {
        while let Some(end) = memchr::memchr(b'\n', &bytes[seen..]) {
            let line = bytes.split_to(seen + end + 1).freeze();
            let _ = waiting.lock().unwrap().pop_front().unwrap().send(line.slice(..seen + end));
            seen = 0;
        }
        seen = bytes.len();
        bytes.reserve(1 << 17);
    }
}
