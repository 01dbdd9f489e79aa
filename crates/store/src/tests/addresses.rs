//! Addresses of networks.

use super::*;
use crate::AddressPool;

#[test]
fn addresses_go_round() {
    let (_dir, store) = store();
    let reserved = ["10.0.0.1".parse().unwrap()];
    let pool = AddressPool {
        network: "net",
        subnet: "10.0.0.0/29".parse().unwrap(),
        range: None,
        reserved: &reserved,
    };
    let take = |container: &str| {
        store
            .allocate_address(&pool, container, None)
            .map(|a| a.to_string())
    };
    assert_eq!(take("a").unwrap(), "10.0.0.2");
    assert_eq!(take("b").unwrap(), "10.0.0.3");
    store.release_addresses("b").unwrap();
    assert_eq!(take("c").unwrap(), "10.0.0.4", "not the one just released");
    let wanted = |text: &str| store.allocate_address(&pool, "w", Some(text.parse().unwrap()));
    wanted("10.0.0.5").unwrap();
    assert_eq!(take("d").unwrap(), "10.0.0.6");
    assert_eq!(take("e").unwrap(), "10.0.0.3", "round again");
    assert!(matches!(take("f"), Err(Error::AddressesExhausted { .. })));
    match wanted("10.0.0.4") {
        Err(Error::AddressTaken { by, .. }) => assert_eq!(by, "c"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        wanted("10.0.0.1"),
        Err(Error::AddressTaken { .. })
    ));
    for bad in ["10.0.0.0", "10.0.0.7", "10.0.1.3", "::1"] {
        assert!(
            matches!(wanted(bad), Err(Error::AddressUnusable { .. })),
            "{bad}"
        );
    }
    let other = AddressPool {
        network: "other",
        ..pool
    };
    assert_eq!(
        store
            .allocate_address(&other, "a", None)
            .unwrap()
            .to_string(),
        "10.0.0.2"
    );
    assert_eq!(store.addresses("net").unwrap().len(), 5);
    store.insert_container(new("c", "c"), &0).unwrap();
    store.remove_container("c").unwrap();
    assert_eq!(
        take("g").unwrap(),
        "10.0.0.4",
        "released with its container"
    );
}

#[test]
fn addresses_of_version_six_and_of_a_range() {
    let (_dir, store) = store();
    let pool = AddressPool {
        network: "net",
        subnet: "fd00::/64".parse().unwrap(),
        range: None,
        reserved: &["fd00::1".parse().unwrap()],
    };
    let take =
        |pool: &AddressPool, c: &str| store.allocate_address(pool, c, None).unwrap().to_string();
    assert_eq!(take(&pool, "a"), "fd00::2");
    assert_eq!(take(&pool, "a"), "fd00::3");
    let v4 = AddressPool {
        subnet: "10.0.0.0/16".parse().unwrap(),
        range: Some("10.0.5.0/30".parse().unwrap()),
        reserved: &["10.0.5.1".parse().unwrap()],
        ..pool
    };
    assert_eq!(take(&v4, "a"), "10.0.5.0");
    assert_eq!(take(&v4, "a"), "10.0.5.2");
    assert_eq!(take(&v4, "a"), "10.0.5.3");
    let full = store.allocate_address(&v4, "a", None);
    assert!(matches!(full, Err(Error::AddressesExhausted { .. })));
    assert_eq!(store.release_addresses("a").unwrap().len(), 5);
    assert_eq!(take(&v4, "b"), "10.0.5.0");
}

#[test]
fn a_full_network_costs_little() {
    let (_dir, store) = store();
    let pool = AddressPool {
        network: "net",
        subnet: "10.1.0.0/22".parse().unwrap(),
        range: None,
        reserved: &[],
    };
    store
        .write(|tx| {
            for i in 0..1022 {
                tx.allocate_address(&pool, &format!("c{i}"), None)?;
            }
            assert!(tx.allocate_address(&pool, "x", None).is_err());
            tx.release_addresses("c700")?;
            let found = tx.allocate_address(&pool, "x", None)?;
            assert_eq!(found.to_string(), "10.1.2.189");
            Ok::<_, Error>(())
        })
        .unwrap();
}
