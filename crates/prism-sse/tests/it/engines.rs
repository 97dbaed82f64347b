//! Engines: the conformance suite, and what readers and publishers see of an engine that
//! misbehaves.

use prism_sse::test::{Delayed, conformance};
use prism_sse::{
    AckError, Durability, EngineError, Manager, Memory, Publication, PublishError, Retention,
};

use super::page;

fn delayed() -> (Manager, Delayed) {
    let engine = Delayed::new();
    let sse = Manager::builder().history(Retention::default()).engine(engine.clone());
    (sse.build().unwrap(), engine)
}

#[tokio::test]
async fn the_memory_engine_passes_the_conformance_suite() {
    conformance::check(Memory::new).await;
}

#[tokio::test]
async fn an_engine_that_acknowledges_before_it_applies_passes_the_conformance_suite() {
    conformance::check(Delayed::acknowledging_first).await;
}

#[tokio::test]
async fn an_engine_that_applies_before_it_acknowledges_passes_the_conformance_suite() {
    conformance::check(Delayed::applying_first).await;
}

#[tokio::test]
async fn a_receipt_waits_for_both_the_acknowledgement_and_the_application() {
    let (sse, engine) = delayed();
    let mut early = sse.broadcast("acknowledged first").unwrap();
    engine.acknowledge_first();
    assert_eq!(early.try_ack(), None);
    engine.apply();
    let ack = early.try_ack().unwrap().unwrap();
    assert_eq!((ack.position.seq, ack.durability), (1, Durability::Fsync));

    let mut late = sse.broadcast("applied first").unwrap();
    engine.apply();
    assert_eq!(late.try_ack(), None);
    engine.acknowledge_first();
    assert_eq!(late.await.unwrap().position.seq, 2);
}

#[tokio::test]
async fn acknowledgements_out_of_order_go_to_their_own_publishers() {
    let (sse, engine) = delayed();
    let mut receipts: Vec<_> = (0..3).map(|n| sse.broadcast(n.to_string()).unwrap()).collect();
    engine.acknowledge_last();
    engine.acknowledge_last();
    while engine.apply() {}
    assert_eq!(receipts[2].try_ack().unwrap().unwrap().position.seq, 3);
    assert_eq!(receipts[1].try_ack().unwrap().unwrap().position.seq, 2);
    assert_eq!(receipts[0].try_ack(), None);
}

#[tokio::test]
async fn a_reader_sees_an_event_when_it_is_applied_and_not_before() {
    let (sse, engine) = delayed();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.broadcast("x").unwrap();
    engine.acknowledge_first();
    assert!(page.listen(std::time::Duration::ZERO).await.is_empty());
    engine.apply();
    page.expect("message", "x").await;
}

#[tokio::test]
async fn a_publication_the_engine_refuses_is_an_error_and_leaves_nothing() {
    let (sse, engine) = delayed();
    engine.fail_append(2);
    sse.broadcast("one").unwrap();
    let error = sse.broadcast("two").unwrap_err();
    assert_eq!(error, PublishError::Engine(EngineError::Unavailable));
    sse.broadcast("three").unwrap();
    while engine.apply() {}
    assert_eq!(sse.stats().published, 2);
}

#[tokio::test]
async fn a_full_engine_refuses_and_takes_again_when_it_has_room() {
    let (sse, engine) = delayed();
    engine.set_capacity(2);
    sse.broadcast("1").unwrap();
    sse.broadcast("2").unwrap();
    let error = sse.broadcast("3").unwrap_err();
    assert_eq!(error.to_string(), "too many publications wait for their acknowledgement");
    engine.acknowledge_first();
    sse.broadcast("3").unwrap();
}

#[tokio::test]
async fn an_engine_that_does_not_answer_leaves_the_outcome_unknown() {
    let (sse, engine) = delayed();
    let receipt = sse.broadcast("x").unwrap();
    engine.forget_first();
    assert_eq!(receipt.await, Err(AckError::Unknown));
}

#[tokio::test]
async fn a_failed_publication_is_an_error_and_never_read() {
    let (sse, engine) = delayed();
    let receipt = sse.broadcast("x").unwrap();
    engine.fail_first();
    assert_eq!(receipt.await, Err(AckError::Failed));
    assert!(!engine.apply());
}

#[tokio::test]
async fn a_sequence_number_that_is_applied_again_is_ignored() {
    let (sse, engine) = delayed();
    let mut page = page(&sse).await;
    page.expect_named("prism.open").await;
    sse.broadcast("one").unwrap();
    engine.apply();
    engine.apply_again(1, Publication::broadcast("one"));
    sse.broadcast("two").unwrap();
    engine.apply();
    page.expect("message", "one").await;
    page.expect("message", "two").await;
}

#[tokio::test]
async fn receipts_that_wait_for_an_order_that_is_replaced_are_unknown() {
    let (sse, engine) = delayed();
    sse.broadcast("kept").unwrap();
    engine.apply();
    sse.broadcast("kept").unwrap();
    engine.apply();
    let lost = sse.broadcast("lost").unwrap();
    for _ in 0..3 {
        engine.acknowledge_first();
    }
    engine.begin_epoch(1);
    assert_eq!(lost.await, Err(AckError::Unknown));
}

#[tokio::test]
async fn dropping_the_manager_completes_all_receipts() {
    let (sse, engine) = delayed();
    let receipt = sse.broadcast("x").unwrap();
    drop(sse);
    engine.acknowledge_first();
    assert_eq!(receipt.await, Err(AckError::Unknown));
}
