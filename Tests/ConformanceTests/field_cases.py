"""Requests whose fields break RFC 9113, section 8: malformed, so that their stream ends with
PROTOCOL_ERROR (8.1.1), and some that look odd and are good."""

from wire import CHECK

METHOD, SCHEME, PATH = (":method", "POST"), (":scheme", "http"), (":path", CHECK)
AUTHORITY, TE = (":authority", "x"), ("te", "trailers")
CONTENT_TYPE = ("content-type", "application/grpc")
PSEUDO = [METHOD, SCHEME, PATH, AUTHORITY]
GOOD = [*PSEUDO, CONTENT_TYPE, TE]


def without(field):
    return [each for each in GOOD if each != field]


MALFORMED = {
    "rfc9113_8_2_uppercase_name": [*GOOD, ("X-Upper", "x")],
    "rfc9113_8_2_1_space_in_a_name": [*GOOD, ("x y", "x")],
    "rfc9113_8_2_1_colon_in_a_name": [*GOOD, ("x:y", "x")],
    "rfc9113_8_2_1_control_byte_in_a_name": [*GOOD, (b"x\x01", b"x")],
    "rfc9113_8_2_1_high_byte_in_a_name": [*GOOD, (b"x\xe9", b"x")],
    "rfc9113_8_2_1_empty_name": [*GOOD, ("", "x")],
    "rfc9113_8_2_1_nul_in_a_value": [*GOOD, (b"x", b"a\0b")],
    "rfc9113_8_2_1_line_feed_in_a_value": [*GOOD, (b"x", b"a\nb")],
    "rfc9113_8_2_1_carriage_return_in_a_value": [*GOOD, (b"x", b"a\rb")],
    "rfc9113_8_2_1_space_ahead_of_a_value": [*GOOD, ("x", " a")],
    "rfc9113_8_2_1_tab_behind_a_value": [*GOOD, ("x", "a\t")],
    "rfc9113_8_2_2_connection": [*GOOD, ("connection", "close")],
    "rfc9113_8_2_2_proxy_connection": [*GOOD, ("proxy-connection", "close")],
    "rfc9113_8_2_2_keep_alive": [*GOOD, ("keep-alive", "5")],
    "rfc9113_8_2_2_transfer_encoding": [*GOOD, ("transfer-encoding", "chunked")],
    "rfc9113_8_2_2_upgrade": [*GOOD, ("upgrade", "h2c")],
    "rfc9113_8_2_2_te_gzip": [*without(TE), ("te", "gzip")],
    "rfc9113_8_3_pseudo_field_after_others": [METHOD, SCHEME, AUTHORITY, CONTENT_TYPE, TE, PATH],
    "rfc9113_8_3_unknown_pseudo_field": [(":colour", "red"), *GOOD],
    "rfc9113_8_3_pseudo_field_of_a_response": [(":status", "200"), *GOOD],
    "rfc9113_8_3_1_no_method": without(METHOD),
    "rfc9113_8_3_1_no_scheme": without(SCHEME),
    "rfc9113_8_3_1_no_path": without(PATH),
    "rfc9113_8_3_1_empty_path": [METHOD, SCHEME, (":path", ""), AUTHORITY, CONTENT_TYPE, TE],
    "rfc9113_8_3_1_path_without_a_slash": [
        METHOD,
        SCHEME,
        (":path", "x/y"),
        AUTHORITY,
        CONTENT_TYPE,
        TE,
    ],
    "rfc9113_8_3_1_method_twice": [METHOD, *GOOD],
    "rfc9113_8_3_1_scheme_twice": [SCHEME, *GOOD],
    "rfc9113_8_3_1_path_twice": [PATH, *GOOD],
    "rfc9113_8_3_1_authority_twice": [AUTHORITY, *GOOD],
    "rfc9113_8_5_connect_with_a_path": [
        (":method", "CONNECT"),
        SCHEME,
        PATH,
        AUTHORITY,
        CONTENT_TYPE,
        TE,
    ],
}

ODD_BUT_GOOD = {
    "rfc9113_8_2_3_cookies_in_crumbs": [*GOOD, ("cookie", "a=1"), ("cookie", "b=2")],
    "rfc9113_8_3_1_host_in_place_of_authority": [*without(AUTHORITY), ("host", "x")],
    "rfc9113_8_3_1_pseudo_fields_in_any_order": [PATH, AUTHORITY, SCHEME, METHOD, CONTENT_TYPE, TE],
    "rfc9113_8_2_1_empty_value": [*GOOD, ("x", "")],
    "rfc9113_8_1_no_te": without(TE),
}
