"""Each difference from RhoConnect that the documentation names has a test."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "differences-from-rhoconnect.md"
POINTING = ("README.md", "docs/migrating-from-rhoconnect.md", "docs/http-api.md")

PING = "tests/protocols/ping/test_parse.py"
SPECS = "tests/protocols/test_rhoconnect_specs.py"
DEVICES = "tests/protocols/test_devices.py"
HTTP = "tests/gateway/http_api"
OWNERS = "tests/gateway/registry/test_clients_owners.py"
REGISTRY = "tests/gateway/registry"
APNS = "tests/protocols/apns/test_message.py"
FCM = "tests/protocols/fcm/test_message.py"
PUSH = "tests/protocols/rhoconnect_push/test_message.py"
FIELDS = "tests/protocols/ping/test_fields.py"
RUBY = "tests/clients/test_rhoconnect_clients.py"
TESTS = {
    # the beginning of a row -> the test that fails where the gateway does as RhoConnect
    "The response to a ping": f"{HTTP}/test_wait.py::test_waiting_for_errors_answers_as_rhoconnect_does",
    "A body that is not a JSON object": f"{PING}::test_a_malformed_body_names_the_place",
    "`sources` as a text": f"{SPECS}::test_content_that_broke_rhoconnects_fcm_is_accepted",
    "`async: false`": f"{SPECS}::test_async_false_means_false",
    '`badge: "+1"`': "tests/gateway/fanout/test_addressing.py::test_a_sync_restarts_the_badge",
    "`source_id` is ignored": f"{SPECS}::test_source_id_stands_in_for_sources",
    "A nested list in `user_id`": f"{FIELDS}::test_user_id_becomes_logins",
    "Names joined by a comma": f"{FIELDS}::test_sources",
    "A negative `badge` or `vibrate`": f"{FIELDS}::test_other_values_are_refused_by_name",
    "A `vibrate` that is no number": f"{FIELDS}::test_vibrate_as_to_i_reads_it",
    "An empty `message`": f"{FIELDS}::test_an_empty_text_counts_as_absent",
    "`title`, `priority`": f"{PING}::test_the_gateways_own_parameters_have_a_meaning",
    "`/rc/v1/users%20/ping`": f"{HTTP}/test_ping.py::test_every_name_of_the_route_and_the_warning_of_the_older_ones",
    "JSON with a Content-Type other than": f"{HTTP}/test_ping.py::test_the_content_type_says_how_a_body_is_read",
    "Unknown fields": f"{SPECS}::test_fields_that_are_not_understood_are_named",
    "A body of any size": f"{HTTP}/test_bodies.py::test_a_long_body_without_a_valid_header_is_refused_before_it_comes",
    "Parameters may have any length": "tests/protocols/ping/test_limits.py::test_each_parameter_has_a_longest_value",
    "A compressed body": f"{HTTP}/test_bodies_encoding.py::test_an_encoded_body_counts_by_its_decoded_size",
    "Errors are HTML or text": f"{HTTP}/test_responses.py::test_errors_as_json",
    "A ping is tried whatever": f"{HTTP}/test_ping.py::test_503_while_redis_is_unreachable",
    "Responses to pings have": f"{HTTP}/test_ping.py::test_a_ping_gets_rhoconnects_empty_200_and_an_id",
    "There are routes for sources": f"{HTTP}/test_routes.py::test_rhoconnects_other_routes_are_not_here",
    "The routes of a user who": f"{HTTP}/test_users.py::test_users_are_created_listed_shown_and_deleted",
    "`GET /rc/v1/users/ID` shows": f"{HTTP}/test_users.py::test_a_user_is_shown_without_secrets",
    "Only a session registers": f"{HTTP}/test_devices.py::test_registration_by_token_names_its_user",
    "A withdrawn API token": f"{HTTP}/test_token_cache.py::"
    "test_a_revoked_token_is_detected_in_time_and_loses_its_priority",
    "`rhoadmin` has an empty password": f"{HTTP}/test_users.py::test_rhoconnects_empty_admin_password_opens_nothing",
    "`rhoadmin` is a user in Redis": f"{REGISTRY}/test_accounts.py::test_the_admin_is_never_created",
    "The number of logins": f"{HTTP}/test_context.py::test_concurrent_logins_get_no_more_guesses",
    "A device's login creates": f"{HTTP}/test_devices.py::test_a_wrong_password_is_401_without_a_session",
    "A session is a signed Ruby object": f"{HTTP}/test_sessions.py::test_garbage_is_no_session",
    "A registration that moves": f"{OWNERS}::test_a_client_that_moves_keeps_nothing_of_its_device",
    "Two users may hold": f"{OWNERS}::"
    "test_a_token_that_another_user_registers_leaves_the_earlier_users_client",
    "A user may have any number": f"{HTTP}/test_devices.py::test_a_user_has_no_more_devices_than_the_setting_allows",
    "Markup in JSON": f"{HTTP}/test_routes_browsers.py::test_stored_markup_is_no_markup",
    "`HEAD` for a GET route": f"{HTTP}/test_routes_safe_methods.py::test_no_other_get_changes_anything",
    '`device_push_type: ""`': f"{DEVICES}::test_type_and_push_type_decide_the_provider",
    "A device of an unknown platform": f"{DEVICES}::"
    "test_an_unsupported_or_unregistered_device_does_not_use_up_the_phone_id",
    "The id of a deleted client": f"{REGISTRY}/test_user_devices.py::test_a_missing_client_is_counted",
    "A never-synced client": f"{DEVICES}::test_the_last_synced_first_and_the_never_synced_last",
    "A client with a `phone_id` and without": f"{DEVICES}::"
    "test_an_unsupported_or_unregistered_device_does_not_use_up_the_phone_id",
    "`phone_id` and `device_app_id`": f"{DEVICES}::test_phone_id_and_app_are_separate_parts_of_the_key",
    "Two FCM registrations": f"{DEVICES}::"
    "test_an_installation_that_is_registered_by_its_id_and_by_a_token_gets_one",
    "The push type `rhoconnect`": f"{DEVICES}::test_type_and_push_type_decide_the_provider",
    "`gcm` devices": f"{DEVICES}::test_type_and_push_type_decide_the_provider",
    "An error for one user's device": f"{RUBY}::"
    "test_a_rejected_device_raises_on_request_after_all_other_deliveries",
    "A device with a dead token": f"{REGISTRY}/test_token_marks.py::test_a_dead_token_is_omitted_until_it_changes",
    "Missing Apple settings": "tests/gateway/delivery/test_lane_manager.py::"
    "test_a_missing_route_has_a_reason",
    "Each device is tried once": "tests/gateway/delivery/test_retry.py::"
    "test_no_attempt_follows_the_time_to_live",
    "A ping without content": f"{SPECS}::test_a_ping_without_content_is_not_sent",
    "Messages never expire": f"{APNS}::test_the_expiration_follows_the_time_to_live",
    "An object as `message`": f"{APNS}::test_the_content_of_a_ping_decides_the_message",
    "A `vibrate` that the ping": f"{SPECS}::test_push_service_message_with_a_message_alone_has_no_vibrate",
    "The parameters of one device": f"{SPECS}::test_devices_do_not_change_what_the_next_one_gets",
    "The APNs binary protocol": f"{SPECS}::test_more_than_255_characters_and_any_alphabet_for_apple",
    "APNs: `vibrate` is a key": f"{APNS}::test_the_content_of_a_ping_decides_the_message",
    "APNs: a ping with sources": f"{APNS}::test_the_content_of_a_ping_decides_the_message",
    "FCM: the data are in": f"{FCM}::test_the_content_of_a_ping_decides_the_message",
    "FCM: each message has a random": f"{SPECS}::test_a_collapse_key_is_set_on_request_or_for_syncs_only",
    "FCM: each message has a `notification` block": f"{FCM}::test_the_content_of_a_ping_decides_the_message",
    "RhoConnect Push: `do_sync`": f"{PUSH}::test_the_content_of_a_ping_decides_the_message",
    "RhoConnect Push: a badge alone": f"{PUSH}::test_a_ping_that_shows_and_syncs_nothing_has_no_message",
    "RhoConnect Push: each response": "tests/gateway/delivery/test_rhoconnect_push_remote.py::"
    "test_every_answer_is_a_verdict",
}


def rows() -> list[str]:
    lines = PAGE.read_text().splitlines()
    cells = [line.split(" | ")[0].removeprefix("| ") for line in lines if line.startswith("| ")]
    return [cell for cell in cells if cell not in ("RhoConnect", "---")]


def test_each_row_has_a_test_and_each_test_a_row() -> None:
    for row in rows():
        assert sum(row.startswith(beginning) for beginning in TESTS) == 1, row
    for beginning in TESTS:
        assert sum(row.startswith(beginning) for row in rows()) == 1, beginning


@pytest.mark.parametrize("test", sorted(set(TESTS.values())))
def test_each_test_exists(test: str) -> None:
    path, _, name = test.partition("::")
    tree = ast.parse((ROOT / path).read_text())
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in functions


@pytest.mark.parametrize("page", POINTING)
def test_the_pages_point_at_the_list(page: str) -> None:
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text())
    assert PAGE.name in {Path(link).name for link in links}
