//! Stores of artifacts: one suite for all of them, and what an object store does when the network fails.

mod conformance;
mod faults;
mod proxy;
pub mod server;

macro_rules! conformance {
    ($($case:ident),+ $(,)?) => {
        mod folder {
            $(#[tokio::test] async fn $case() {
                crate::artifacts::conformance::$case(&crate::artifacts::conformance::World::folder()).await;
            })+
        }

        mod s3 {
            $(#[tokio::test] async fn $case() {
                crate::artifacts::conformance::$case(&crate::artifacts::conformance::World::s3()).await;
            })+
        }

        mod s3_without_prefix {
            $(#[tokio::test] async fn $case() {
                crate::artifacts::conformance::$case(&crate::artifacts::conformance::World::bucket()).await;
            })+
        }
    };
}

conformance! {
    what_is_put_reads_back,
    a_key_is_replaced_as_a_whole,
    what_comes_in_pieces_is_seen_when_it_is_complete,
    large_ones_go_in_parts,
    parts_are_read,
    a_reader_never_mixes_two,
    keys_are_listed_below_a_prefix,
    what_is_deleted_is_gone,
    no_key_leads_out,
    links_and_devices_are_not_copied,
    what_is_not_there_is_not_found,
    many_at_once,
    bundles_are_laid,
}
