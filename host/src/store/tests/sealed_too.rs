//! What the store promises holds for a sealed one too: the same tests once more, with values sealed.

use super::IS_SEALED;

/// Tests of one file of this room, each as a test of its own.
macro_rules! sealed_too {
    ($room:ident: $($test:ident),* $(,)?) => {
        mod $room {
            $(
                #[test]
                fn $test() {
                    super::IS_SEALED.set(true);
                    super::super::$room::$test();
                }
            )*
        }
    };
}

sealed_too!(entries:
    revisions_follow_each_other_through_groups_and_reopening,
    a_group_that_found_no_space_leaves_no_entry_and_takes_no_revision,
    the_last_revision_is_known_when_every_entry_is_gone,
    a_page_of_entries_is_bounded_but_never_empty,
    with_an_interval_commits_are_answered_before_the_sync_and_synced_soon,
    what_a_power_cut_may_have_taken_begins_a_new_epoch_and_the_end_of_a_process_does_not,
    an_orderly_end_with_an_interval_leaves_nothing_to_be_lost,
);

sealed_too!(full_disk:
    a_full_disk_refuses_commits_and_they_go_on_when_there_is_space,
    the_engines_own_upkeep_may_find_the_disk_full,
    a_store_that_could_not_be_opened_again_opens_for_the_next_commit,
    a_broken_disk_stops_commits_until_a_restart_and_reads_go_on,
);

sealed_too!(power_cut:
    every_acknowledged_commit_survives_a_power_cut_whole,
    with_an_interval_a_power_cut_takes_only_the_newest_commits,
    without_the_sync_call_the_same_check_fails,
    every_acknowledged_commit_survives_a_power_cut_around_a_change_of_journals,
);

#[test]
fn what_the_store_promises_of_keys_and_values() {
    IS_SEALED.set(true);
    super::committed_values_are_there_after_reopening_with_the_same_epoch();
    super::a_put_wins_over_a_delete_of_the_same_commit();
    super::a_failed_check_names_the_key_and_leaves_nothing();
    super::later_commits_of_a_group_see_the_earlier_ones();
    super::scan_pages_through_one_prefix_of_one_namespace();
    super::the_store_of_a_newer_host_is_refused();
    super::a_damaged_journal_is_refused_and_left_as_it_is();
}
