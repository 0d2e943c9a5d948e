//! What an exchanger counts, for metrics and readiness.

use std::time::Duration;

use hopguard_core::seconds;

use crate::rig_for_tests::*;

#[tokio::test]
async fn each_exchange_is_counted_once_as_what_it_is() {
    let rig = Rig::new(|ask| if ask.number < 2 { honest(ask) } else { error(400, "invalid_target") });
    let alice = rig.caller("alice").await;
    let counted = || {
        let status = rig.exchanger.status();
        assert_eq!((status.under_way, status.waiting), (0, 0));
        (status.kept, status.begun, status.renewals, status.failed)
    };
    assert_eq!(counted(), (0, 0, 0, 0));
    rig.ask(&alice).await.unwrap();
    rig.ask(&alice).await.unwrap();
    assert_eq!(counted(), (1, 1, 0, 0), "a grant that was kept begins nothing");
    // Late in its life a use renews it.
    rig.clock.advance(Duration::from_secs(90));
    rig.ask(&alice).await.unwrap();
    until(|| rig.asked() == 2 && rig.exchanger.traffic() == (0, 0)).await;
    assert_eq!(counted(), (1, 1, 1, 0));
    let bob = rig.caller("bob").await;
    assert_eq!(rig.ask(&bob).await, Err("exchange_target_refused"));
    assert_eq!(counted(), (1, 2, 1, 1));
    rig.clock.advance(seconds(6));
    assert_eq!(rig.ask(&bob).await, Err("exchange_target_refused"));
    assert_eq!(counted().3, 2);
}
