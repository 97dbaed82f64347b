//! Stores: what is kept below the window in memory, and goes on after a restart.

use std::time::Duration;

use futures_util::StreamExt;
use prism_sse::test::ScriptedStore;
use prism_sse::{
    AckError, Audience, Connection, Durability, Event, Manager, ManagerBuilder, Publication,
    PublishError, Retention, Start,
};

fn builder(disk: &ScriptedStore) -> ManagerBuilder {
    Manager::builder().history(Retention::default()).store(disk.clone()).no_heartbeat()
}

fn open(disk: &ScriptedStore) -> Manager {
    builder(disk).build().expect("the settings are valid")
}

/// Publishes an event and waits until it is kept. Returns the id that readers see.
async fn publish(sse: &Manager, topic: &str, data: &str) -> String {
    let ack = sse.publish(topic, data).expect("it is taken").await.expect("it is kept");
    assert_eq!(ack.durability, Durability::Fsync);
    ack.position.to_string()
}

fn subscribe(sse: &Manager, topics: &[&str], start: Start) -> Connection {
    sse.subscribe(Audience::select(topics).expect("they are topics"), start).expect("it is open")
}

/// What a reader receives before it is removed: data, and the reasons of gaps.
async fn received(connection: &mut Connection) -> Vec<String> {
    let mut all = Vec::new();
    connection.handle().expect("it is open").remove();
    while let Some(bytes) = connection.next().await {
        let text = String::from_utf8(bytes.to_vec()).expect("it is UTF-8");
        for block in text.split_inclusive("\n\n") {
            let data = block.lines().find_map(|line| line.strip_prefix("data: "));
            let data = data.unwrap_or_default();
            if block.contains("event: prism.gap") {
                let reason = data.split('"').nth(3).expect("it has a reason");
                all.push(format!("gap {reason}"));
            } else if !block.contains("event: prism.") && block.contains("data: ") {
                all.push(data.to_owned());
            }
        }
    }
    all
}

async fn read(sse: &Manager, topics: &[&str], start: Start) -> Vec<String> {
    received(&mut subscribe(sse, topics, start)).await
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|number| number.to_string()).collect()
}

#[tokio::test]
async fn a_reader_resumes_after_a_restart_and_misses_nothing() {
    let disk = ScriptedStore::new();
    let sse = open(&disk);
    let mut ids = Vec::new();
    for number in 0..10 {
        ids.push(publish(&sse, "a", &number.to_string()).await);
    }
    drop(sse);
    let sse = open(&disk);
    assert_eq!(read(&sse, &["a"], Start::After(ids[3].clone())).await, numbers(4..10));
    let mut live = subscribe(&sse, &["a"], Start::After(ids[8].clone()));
    let new = publish(&sse, "a", "10").await;
    assert_eq!(received(&mut live).await, numbers(9..11));
    assert!(ids.iter().all(|id| *id != new), "{new} was handed out again");
    drop(sse);
    let sse = open(&disk);
    assert_eq!(read(&sse, &["a"], Start::After(ids[8].clone())).await, numbers(9..11));
    assert_eq!(read(&sse, &["a"], Start::After(new)).await, numbers(0..0));
}

#[tokio::test]
async fn an_event_that_is_not_stored_is_seen_by_nobody() {
    let disk = ScriptedStore::new();
    let sse = open(&disk);
    let mut reader = subscribe(&sse, &["a"], Start::Now);
    disk.fail_next(1);
    let refused = sse.publish("a", "refused").expect("it is taken").await;
    assert_eq!(refused, Err(AckError::StorageFull));
    assert!(!sse.accepts_events());
    publish(&sse, "a", "kept").await;
    assert!(sse.accepts_events());
    assert_eq!(received(&mut reader).await, ["kept"]);
    drop((reader, sse));
    assert_eq!(read(&open(&disk), &["a"], Start::Oldest).await, ["kept"]);
}

#[tokio::test]
async fn a_place_of_a_transient_event_is_never_handed_out_again() {
    let disk = ScriptedStore::new();
    let sse = open(&disk);
    publish(&sse, "a", "kept").await;
    let typing = Publication::new("a", "typing").expect("it is valid").transient();
    let ack = sse.append(typing).expect("it is taken").await.expect("it is applied");
    assert_eq!(ack.durability, Durability::Memory);
    drop(sse);
    let sse = open(&disk);
    let id = ack.position.to_string();
    assert_eq!(read(&sse, &["a"], Start::After(id)).await, numbers(0..0), "it resumes exactly");
    let next = sse.publish("a", "next").expect("it is taken").await.expect("it is kept");
    assert!(
        next.position.seq > ack.position.seq
            && next.position.epoch.get() > ack.position.epoch.get()
    );
}

#[tokio::test]
async fn a_lost_tail_is_told_to_those_who_read_it() {
    let disk = ScriptedStore::new();
    let sse = open(&disk);
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(publish(&sse, "a", &number.to_string()).await);
    }
    drop(sse);
    disk.lose_newest(2);
    let sse = open(&disk);
    let of = |id: &str| Start::After(id.to_owned());
    assert_eq!(read(&sse, &["a"], of(&ids[0])).await, ["1", "gap expired"]);
    publish(&sse, "a", "new").await;
    assert_eq!(subscribe(&sse, &["a"], of(&ids[3])).gap().map(|gap| gap.as_str()), Some("epoch"));
    assert_eq!(read(&sse, &["a"], of(&ids[1])).await, ["gap expired", "new"]);
    // Once it is known, it is told at connect.
    assert_eq!(read(&sse, &["a"], of(&ids[0])).await, ["gap expired", "1", "new"]);
    assert_eq!(read(&sse, &["a"], Start::Now).await, numbers(0..0));
}

#[tokio::test]
async fn a_retry_with_the_same_key_after_a_restart_gets_the_first_acknowledgement() {
    let disk = ScriptedStore::new();
    let keyed = |data: &str| {
        Publication::new("a", Event::new(data)).unwrap().idempotency_key("order-1").unwrap()
    };
    let sse = open(&disk);
    let first = sse.append(keyed("one")).expect("it is taken").await.expect("it is kept");
    drop(sse);
    let sse = open(&disk);
    let again = sse.append(keyed("one")).expect("it is taken").await.expect("it is known");
    assert_eq!((again.position, again.durability), (first.position, Durability::Fsync));
    assert!(matches!(sse.append(keyed("two")), Err(PublishError::KeyReused)));
    assert_eq!(disk.records().len(), 1);
}

#[tokio::test]
async fn sends_keep_their_order_with_what_is_published() {
    let sse = open(&ScriptedStore::new());
    let mut reader = subscribe(&sse, &["a"], Start::Now);
    let (one, sent) = (sse.publish("a", "one").unwrap(), sse.send("two", reader.id()).unwrap());
    publish(&sse, "a", "three").await;
    assert_eq!(received(&mut reader).await, ["one", "two", "three"]);
    assert_eq!(one.await.unwrap().position, sent.await.unwrap().position);
}

/// A manager whose window holds a few events only.
fn open_small(disk: &ScriptedStore) -> Manager {
    builder(disk).memory(2_000).build().expect("the settings are valid")
}

#[tokio::test]
async fn a_reader_below_the_window_reads_pages_and_crosses_into_it() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    let mut ids = Vec::new();
    for number in 0..1_000 {
        ids.push(publish(&sse, "a", &number.to_string()).await);
    }
    assert!(sse.stats().records < 50, "{:?}", sse.stats());
    for from in [0, 1, 63, 64, 500, 990, 998] {
        let mut reader = subscribe(&sse, &["a"], Start::After(ids[from].clone()));
        assert_eq!(reader.gap(), None);
        publish(&sse, "b", "of others").await;
        assert_eq!(received(&mut reader).await, numbers(from + 1..1_000), "{from}");
    }
    assert_eq!(read(&sse, &["a"], Start::Oldest).await, numbers(0..1_000));
    drop(sse);
    let sse = open_small(&disk);
    let mut all = sse.subscribe(Audience::everything(), Start::After(ids[9].clone())).unwrap();
    let new = publish(&sse, "a", "1000").await;
    let mut expected = numbers(10..1_000);
    expected.extend(std::iter::repeat_n("of others".to_owned(), 7));
    expected.push("1000".to_owned());
    assert_eq!(received(&mut all).await, expected);
    assert_eq!(read(&sse, &["a"], Start::After(new)).await, numbers(0..0));
}

#[tokio::test]
async fn a_rare_topic_below_the_window_takes_few_pages() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    for number in 0..2_000 {
        let topic = if number % 500 == 0 { "rare" } else { "common" };
        drop(sse.publish(topic, number.to_string()).expect("it is taken"));
    }
    publish(&sse, "common", "end").await;
    assert_eq!(read(&sse, &["rare"], Start::Oldest).await, ["0", "500", "1000", "1500"]);
    assert!(disk.pages() <= 2, "{}", disk.pages());
}

#[tokio::test]
async fn readers_of_one_stretch_share_its_pages() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    for number in 0..1_000 {
        drop(sse.publish("a", number.to_string()).expect("it is taken"));
    }
    publish(&sse, "a", "end").await;
    let mut readers: Vec<_> =
        (0..50).map(|_| sse.subscribe(Audience::everything(), Start::Oldest).unwrap()).collect();
    for reader in &mut readers {
        assert_eq!(received(reader).await.len(), 1_001);
    }
    assert!(disk.pages() <= 10, "{}", disk.pages());
}

#[tokio::test]
async fn a_page_that_fails_is_read_again() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    for number in 0..100 {
        publish(&sse, "a", &number.to_string()).await;
    }
    disk.fail_next_pages(1);
    assert_eq!(read(&sse, &["a"], Start::Oldest).await, numbers(0..100));
}

#[tokio::test]
async fn damage_below_the_window_costs_the_damaged_record_alone_and_is_told() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    let mut ids = Vec::new();
    for number in 0..200 {
        ids.push(publish(&sse, "a", &number.to_string()).await);
    }
    disk.damage(51);
    let mut expected = numbers(0..50);
    expected.push("gap expired".to_owned());
    expected.extend(numbers(51..200));
    let oldest = || Start::After("earliest".to_owned());
    assert_eq!(read(&sse, &["a"], oldest()).await, expected);
    assert_eq!(read(&sse, &["a"], Start::After(ids[60].clone())).await, numbers(61..200));
    drop(sse);
    assert_eq!(read(&open_small(&disk), &["a"], oldest()).await, expected);
    assert_eq!(read(&open(&disk), &["a"], oldest()).await, expected, "also within the window");
}

#[tokio::test]
async fn a_reader_from_below_what_the_store_kept_is_told_of_the_gap() {
    let disk = ScriptedStore::new();
    let retention = Retention::default().count(100);
    let sse = builder(&disk).history(retention).memory(2_000).build().unwrap();
    let mut ids = Vec::new();
    for number in 0..500 {
        ids.push(publish(&sse, "a", &number.to_string()).await);
    }
    // The store is trimmed from time to time.
    while disk.records().len() > 100 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut reader = subscribe(&sse, &["a"], Start::After(ids[10].clone()));
    while reader.gap().is_none() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        reader = subscribe(&sse, &["a"], Start::After(ids[10].clone()));
    }
    assert_eq!(reader.gap().map(|gap| gap.as_str()), Some("expired"));
    let mut expected = vec!["gap expired".to_owned()];
    expected.extend(numbers(400..500));
    assert_eq!(received(&mut reader).await, expected);
    assert_eq!(read(&sse, &["a"], Start::After(ids[399].clone())).await, numbers(400..500));
}

#[tokio::test]
async fn private_events_below_the_window_are_for_those_who_are_granted_them() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    for number in 0..100 {
        let event = Publication::new("a", number.to_string()).unwrap();
        let event = if number % 2 == 0 { event.private() } else { event };
        sse.append(event).expect("it is taken").await.expect("it is kept");
    }
    let all = Start::After("earliest".to_owned());
    assert_eq!(read(&sse, &["a"], all.clone()).await.len(), 50);
    let granted = Audience::select("a").unwrap().grant("a").unwrap();
    let mut reader = sse.subscribe(granted, all).unwrap();
    assert_eq!(received(&mut reader).await, numbers(0..100));
}

#[tokio::test]
async fn transient_events_keep_their_order_with_pages() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    let first = publish(&sse, "a", "0").await;
    for number in 1..200 {
        let event = Publication::new("a", number.to_string()).unwrap();
        let event = if number % 3 == 0 { event.transient() } else { event };
        sse.append(event).expect("it is taken").await.expect("it is applied");
    }
    assert_eq!(read(&sse, &["a"], Start::After(first)).await, numbers(1..200));
}

#[tokio::test]
async fn an_id_that_a_publisher_chose_resumes_after_its_first_record_that_the_store_keeps() {
    let disk = ScriptedStore::new();
    let sse = open_small(&disk);
    for number in 0..300 {
        let id = match number {
            10 | 290 => "twice".to_owned(),
            20 => "secret".to_owned(),
            other => format!("id-{other}"),
        };
        let event = Event::new(number.to_string()).id(id).unwrap();
        let event = Publication::new("a", event).unwrap();
        let event = if number == 20 { event.private() } else { event };
        sse.append(event).expect("it is taken").await.expect("it is kept");
    }
    let expected = |from: usize| {
        numbers(from..300).into_iter().filter(|number| number != "20").collect::<Vec<_>>()
    };
    let after = |id: &str| Start::After(id.to_owned());
    for sse in [sse.clone(), {
        drop(sse);
        open_small(&disk)
    }] {
        assert_eq!(read(&sse, &["a"], after("twice")).await, expected(11));
        assert_eq!(read(&sse, &["a"], after("id-295")).await, expected(296));
        for unknown in ["secret", "nobody's"] {
            let reader = subscribe(&sse, &["a"], after(unknown));
            assert_eq!(reader.gap().map(|gap| gap.as_str()), Some("unknown"), "{unknown}");
        }
    }
}
