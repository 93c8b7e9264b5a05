//! Binding and accepting on loopback.

use super::*;

#[tokio::test]
async fn a_taken_port_is_named() {
    let first = bind("127.0.0.1", 0).unwrap();
    let port = first.local_addr().unwrap().port();
    let failure = bind("127.0.0.1", port).unwrap_err();
    assert_eq!((failure.name(), failure.port), ("EADDRINUSE", port));
}

#[test]
fn hosts_are_names_and_addresses_of_both_families() {
    for host in ["localhost", "127.0.0.1", "0.0.0.0"] {
        assert!(bind(host, 0).is_ok(), "{host}");
    }
    assert!(bind("256.0.0.1.invalid", 0).is_err());
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert!(bind("[::1]", 0).is_ok());
        assert!(bind("::1", 0).is_ok());
    }
}

#[tokio::test]
async fn what_is_accepted_inherits_no_delay_and_can_change_its_runtime() {
    let listener = bind("127.0.0.1", 0).unwrap();
    let acceptor = Acceptor::new(listener, Watch::start(4)).unwrap();
    let client = TcpStream::connect(acceptor.local().unwrap()).await.unwrap();
    let accepted = acceptor.accept().await;
    assert_eq!(accepted.peer, client.local_addr().unwrap());
    assert!(accepted.stream.nodelay().unwrap());
    let attached = accepted.detach().unwrap().attach().unwrap();
    assert_eq!(attached.stream.peer_addr().unwrap(), client.local_addr().unwrap());
}

#[tokio::test]
async fn connections_beyond_the_bound_are_closed_and_later_ones_served() {
    let watch = Watch::start(1);
    let acceptor = Acceptor::new(bind("127.0.0.1", 0).unwrap(), watch.clone()).unwrap();
    let address = acceptor.local().unwrap();
    let _first = TcpStream::connect(address).await.unwrap();
    let accepted = acceptor.accept().await;
    let second = TcpStream::connect(address).await.unwrap();
    let waiting = tokio::spawn(async move { acceptor.accept().await });
    second.readable().await.unwrap();
    assert!(matches!(second.try_read(&mut [0]), Ok(0) | Err(_)));
    assert_eq!(watch.refused(), 1);
    drop(accepted);
    let third = TcpStream::connect(address).await.unwrap();
    assert_eq!(waiting.await.unwrap().peer, third.local_addr().unwrap());
}

#[test]
fn a_lack_of_descriptors_is_waited_out_and_a_vanished_client_is_not() {
    assert!(!is_of_one_connection(&io::Error::from_raw_os_error(24)));
    assert!(!is_of_one_connection(&io::Error::from_raw_os_error(23)));
    assert!(is_of_one_connection(&io::Error::from(io::ErrorKind::ConnectionAborted)));
}
