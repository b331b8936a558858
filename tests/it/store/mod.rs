//! One suite for all stores, each case written once and run against each of them.
//!
//! A world has two handles, `a` and `b`: for SQLite two stores on one file and for PostgreSQL two on one
//! database, as in two processes, once straight and once with one of them behind PgBouncer; in memory
//! the same store twice. A case that takes turns between them shows that nothing depends on who wrote.

mod archives;
mod artifacts;
mod claims;
mod commits;
mod dirty;
mod idempotency;
mod leases;
mod lists;
mod postgres;
mod races;
mod runbooks;
mod runs;
mod segments;
mod sessions;
mod signals;
mod soundness;
mod speed;
mod sqlite_only;
mod workers;
pub mod world;

macro_rules! conformance {
    ($($topic:ident: $($case:ident),+;)+) => {
        mod memory {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::world::World::memory().await).await;
                }
            )+ })+
        }

        mod sqlite {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::world::World::sqlite().await).await;
                }
            )+ })+
        }

        mod server {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::world::World::postgres().await).await;
                }
            )+ })+
        }

        mod pooled {
            $(mod $topic { $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
                async fn $case() {
                    crate::store::$topic::$case(&crate::store::world::World::pooled().await).await;
                }
            )+ })+
        }
    };
}

conformance! {
    runs:
        a_plan_is_kept_under_its_digest,
        a_new_run_reads_back,
        a_run_may_be_born_claimed,
        a_run_may_be_born_with_its_first_decision,
        a_known_id_is_refused_and_nothing_is_written,
        a_run_needs_its_plan,
        what_nobody_could_read_back_is_refused;
    claims:
        highest_priority_then_oldest,
        only_its_lane_and_no_more_than_asked_for,
        a_claim_makes_an_owner,
        only_claimable_runs;
    commits:
        a_commit_moves_a_run_on,
        a_park_ends_ownership,
        a_hand_back_is_claimable_at_once,
        an_end_seals_the_run,
        another_owner_is_fenced,
        a_repeated_commit_is_written_once,
        an_old_commit_is_fenced,
        a_park_waits_for_signals,
        steps_at_rest_are_replaced,
        a_batch_answers_in_order,
        only_the_culprit_is_refused,
        nonsense_is_refused,
        a_thousand_runs_in_one_batch,
        an_empty_batch;
    signals:
        signals_are_numbered,
        a_signal_wakes_a_parked_run,
        a_signal_leaves_an_owner_alone,
        a_signal_comes_too_late,
        signalled_lists_what_is_not_taken_in;
    workers:
        owners_are_workers_and_whoever_owns,
        a_beat_shows_in_views,
        a_busy_worker_is_not_forgotten,
        requeue_takes_from_the_dead,
        a_neighbour_takes_over_from_the_dead,
        an_owner_gives_back_what_it_does_not_drive,
        due_runs_wake;
    leases:
        beats_hold_a_lease,
        a_lease_that_ran_out_is_lost_for_good,
        a_late_beat_is_lost,
        whoever_has_no_lease_does_not_expire,
        an_owner_that_nobody_knows_is_dead,
        the_dead_are_told_in_slices,
        a_worker_is_asked_to_drain,
        workers_are_listed_with_what_they_do,
        a_worker_that_ran_out_is_listed_as_such,
        beat_against_expiry;
    lists:
        newest_first_in_pages,
        filters,
        prefixes,
        every_filter,
        two_filters,
        text_in_any_case,
        many_values_far_apart,
        a_label_of_too_many_values,
        since_and_until,
        lanes_are_counted,
        a_place_in_the_queue,
        events_in_order,
        facts_are_events_of_one_category;
    runbooks:
        versions_are_numbered_per_name_and_tenant,
        the_same_content_makes_no_version,
        what_a_file_was_before_does_not_come_back_by_itself,
        a_version_keeps_its_own_source,
        a_version_needs_its_plan,
        names_in_pages,
        versions_in_pages,
        puts_at_the_same_time,
        bundles_that_nothing_names;
    sessions:
        a_session_reads_back,
        sessions_newest_first_in_pages,
        a_session_is_renamed_archived_and_reopened,
        runs_need_an_open_session,
        a_key_creates_once,
        one_of_many_requests_creates,
        a_session_is_created_once;
    archives:
        ended_runs_wait_for_their_archive,
        events_of_many_runs_at_once,
        large_events_are_read_a_few_at_a_time,
        an_archive_is_recorded_once,
        rows_go_when_the_archive_is_old,
        runs_go_with_everything;
    artifacts:
        an_artifact_replaces_the_one_of_its_name,
        artifacts_are_listed_by_name,
        artifacts_belong_to_a_run_of_the_tenant;
    segments:
        segments_are_read_in_order,
        a_segment_is_recorded_once,
        files_go_when_all_their_runs_are_archived;
    dirty:
        any_text_and_number_comes_back,
        any_plan_and_worker_comes_back,
        large_and_deep;
    idempotency:
        the_first_answer_is_kept,
        keys_belong_to_tenants,
        old_answers_are_pruned;
    races:
        no_run_is_claimed_twice,
        claim_against_signal,
        park_against_signal,
        commit_against_requeue,
        lost_replies,
        end_against_signal,
        sixteen_claimers,
        one_batch_for_two_committers,
        create_against_archive;
}
