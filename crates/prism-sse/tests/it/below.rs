//! Readers below the window in memory, by a body and by a shard alike: pages of a store, and the
//! way into the window.
//!
//! These tests run in real time, because a store has threads of its own.

use prism_sse::test::ScriptedStore;
use prism_sse::{Manager, Retention};

use super::{Page, page, page_after};

/// A manager whose window holds about a dozen events.
fn small_window(disk: &ScriptedStore) -> Manager {
    let builder = Manager::builder().history(Retention::default()).store(disk.clone());
    builder.memory(2_000).build().unwrap()
}

async fn publish(sse: &Manager, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut ids = Vec::new();
    for number in numbers {
        let ack = sse.broadcast(number.to_string()).unwrap().await.unwrap();
        ids.push(ack.position.to_string());
    }
    ids
}

async fn expect_all(page: &mut Page, numbers: std::ops::Range<u32>) {
    for number in numbers {
        page.expect("message", &number.to_string()).await;
    }
}

#[tokio::test]
async fn a_page_from_below_the_window_gets_everything_once_while_events_go_on() {
    let sse = small_window(&ScriptedStore::new());
    let ids = publish(&sse, 0..300).await;
    let mut readers = Vec::new();
    for from in [0, 17, 64, 150, 290, 299] {
        let mut reader = page_after(&sse, &ids[from as usize]).await;
        reader.expect_named("prism.open").await;
        assert!(reader.headers().get("prism-gap").is_none());
        readers.push((from, reader));
    }
    let mut live = page(&sse).await;
    live.expect_named("prism.open").await;
    publish(&sse, 300..400).await;
    for (from, reader) in &mut readers {
        expect_all(reader, *from + 1..400).await;
    }
    expect_all(&mut live, 300..400).await;
    // Those that read pages are live now.
    publish(&sse, 400..402).await;
    for (_, reader) in &mut readers {
        expect_all(reader, 400..402).await;
    }
    expect_all(&mut live, 400..402).await;
}

#[tokio::test]
async fn a_page_that_is_cut_off_among_pages_of_the_store_resumes_there() {
    let sse = small_window(&ScriptedStore::new());
    publish(&sse, 0..300).await;
    let mut reader = page_after(&sse, "earliest").await;
    reader.expect_named("prism.open").await;
    let mut next = 0;
    while next < 300 {
        let until = (next + 37).min(300);
        expect_all(&mut reader, next..until).await;
        next = until;
        reader.reconnect().await.unwrap();
        reader.expect_named("prism.open").await;
    }
    publish(&sse, 300..301).await;
    expect_all(&mut reader, 300..301).await;
}

#[tokio::test]
async fn damage_is_told_in_the_stream_and_the_rest_is_read() {
    let disk = ScriptedStore::new();
    let sse = small_window(&disk);
    let ids = publish(&sse, 0..100).await;
    disk.damage(51);
    let mut reader = page_after(&sse, "earliest").await;
    reader.expect_named("prism.open").await;
    expect_all(&mut reader, 0..50).await;
    let gap = reader.expect_named("prism.gap").await;
    assert!(gap.data.contains("\"reason\":\"expired\""), "{}", gap.data);
    assert!(gap.data.contains(&format!("\"after\":\"{}\"", ids[49])), "{}", gap.data);
    assert_eq!(gap.id, ids[50], "nothing is missing after the damaged record");
    expect_all(&mut reader, 51..100).await;
    // Whoever comes from before it is told at once, and not again on the way.
    let mut other = page_after(&sse, &ids[30]).await;
    assert_eq!(other.headers()["prism-gap"], "expired");
    other.expect_named("prism.open").await;
    other.expect_named("prism.gap").await;
    expect_all(&mut other, 31..50).await;
    expect_all(&mut other, 51..100).await;
    publish(&sse, 100..101).await;
    expect_all(&mut other, 100..101).await;
}

#[tokio::test]
async fn a_reader_that_cannot_be_told_in_the_stream_gets_past_damage_by_reconnecting() {
    let disk = ScriptedStore::new();
    let builder = Manager::builder().history(Retention::default()).store(disk.clone());
    let sse = builder.memory(2_000).control_events(false).build().unwrap();
    publish(&sse, 0..100).await;
    disk.damage(51);
    let mut reader = page_after(&sse, "earliest").await;
    expect_all(&mut reader, 0..50).await;
    reader.expect_end().await;
    reader.reconnect().await.unwrap();
    assert_eq!(reader.headers()["prism-gap"], "expired");
    expect_all(&mut reader, 51..100).await;
}
