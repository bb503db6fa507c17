/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms. URLs are taken apart by hand, and only far enough to be sure that there is a scheme, a
 * host and a sane port: no user names or fragments, and no byte that could break out of a header or
 * a log line. Whether the host exists is for the moment of use. */
#include "config/forms.h"

#include <string.h>

#include "base/limits.h"
#include "base/text.h"

enum { PATH_LEN_MAX = 4095, HOST_LEN_MAX = 253, TENSOR_LEN_MAX = 128, REMOTE_LEN_MAX = 256 };

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z');
}

static bool is_path(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    return len >= 1 && len <= PATH_LEN_MAX;
}

/* A DNS name or an IPv4 address: dots between labels of letters, digits, '-' and '_'. */
static bool is_dns_host(const char *text, size_t len)
{
    if (len == 0 || len > HOST_LEN_MAX) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        bool edge = i == 0 || i + 1 == len || text[i - 1] == '.' || text[i + 1] == '.';
        bool inner = text[i] == '-' || text[i] == '_' || text[i] == '.';
        if (!is_alnum(text[i]) && (edge || !inner)) {
            return false;
        }
    }
    return true;
}

static bool is_ipv6(const char *text, size_t len)
{
    size_t colons = 0;
    for (size_t i = 0; i < len; i++) {
        bool hex = (text[i] >= '0' && text[i] <= '9') || (text[i] >= 'a' && text[i] <= 'f') ||
                   (text[i] >= 'A' && text[i] <= 'F');
        if (!hex && text[i] != ':' && text[i] != '.') {
            return false;
        }
        colons += text[i] == ':';
    }
    return colons >= 2 && len <= 45;
}

static bool is_host(const char *text, size_t len)
{
    return is_dns_host(text, len) || is_ipv6(text, len);
}

/* "host", "host:port", "[v6]", "[v6]:port" */
static bool is_authority(const char *text, size_t len)
{
    size_t host = 0;
    if (len > 0 && text[0] == '[') {
        const char *end = memchr(text, ']', len);
        if (end == NULL || !is_ipv6(text + 1, (size_t)(end - text) - 1)) {
            return false;
        }
        host = (size_t)(end - text) + 1;
    } else {
        while (host < len && text[host] != ':') {
            host++;
        }
        if (!is_dns_host(text, host)) {
            return false;
        }
    }
    if (host == len) {
        return true;
    }
    uint64_t port;
    return text[host] == ':' && rd_text_u64(text + host + 1, len - host - 1, &port) && port >= 1 &&
           port <= 65535;
}

/* The bytes of a URL: what could not break out of a header or a log line. */
static bool is_url_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f ||
            strchr("\"<>\\^`{|}#", text[i]) != NULL) {
            return false;
        }
    }
    return true;
}

static const char *const schemes[] = {"http://", "https://", "grpc://", "grpcs://"};
enum { WEB_SCHEMES = 2, ALL_SCHEMES = 4 };

/* One of the first `count` schemes, authority, then `ret_rest`: "" or what starts with '/' or '?'.
 */
static bool split(const char *text, size_t len, size_t count, const char **ret_rest)
{
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        at = rd_text_starts(text, schemes[i]) ? strlen(schemes[i]) : at;
    }
    if (at == 0 || len > RD_LIMIT_URL || !is_url_text(text, len)) {
        return false;
    }
    size_t authority = strcspn(text + at, "/?");
    if (!is_authority(text + at, authority)) {
        return false;
    }
    *ret_rest = text + at + authority;
    return true;
}

static bool split_url(const char *text, size_t len, const char **ret_rest)
{
    return split(text, len, WEB_SCHEMES, ret_rest);
}

/* gRPC's paths are its methods' names. */
static bool is_url(const char *text, size_t len)
{
    const char *rest;
    return split(text, len, ALL_SCHEMES, &rest) && (!rd_text_starts(text, "grpc") || *rest == '\0');
}

static bool is_url_path(const char *text, size_t len)
{
    return len >= 1 && text[0] == '/' && len <= RD_LIMIT_URL && is_url_text(text, len);
}

static bool is_tensor(const char *text, size_t len)
{
    return is_path(text, len) && len <= TENSOR_LEN_MAX;
}

/* It becomes a part of a path. */
static bool is_server_model(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(text[i]) && strchr("-_.", text[i]) == NULL) {
            return false;
        }
    }
    return len >= 1 && len <= TENSOR_LEN_MAX && text[0] != '.';
}

/* It stands in JSON only; what nobody sees in a log would be hard to find. */
static bool is_remote_model(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] <= 0x20 || (unsigned char)text[i] >= 0x7f) {
            return false;
        }
    }
    return len >= 1 && len <= REMOTE_LEN_MAX;
}

static bool is_version(const char *text, size_t len)
{
    uint64_t number;
    return len <= 18 && rd_text_u64(text, len, &number) && number > 0;
}

static bool is_public_url(const char *text, size_t len)
{
    const char *rest;
    return split_url(text, len, &rest) && strchr(rest, '?') == NULL && !rd_text_ends(rest, "/");
}

/* As a browser sends it: lower case, nothing behind the authority, no default port. */
static bool is_origin(const char *text, size_t len)
{
    const char *rest;
    if (strcmp(text, "*") == 0) {
        return true;
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] >= 'A' && text[i] <= 'Z') {
            return false;
        }
    }
    if (!split_url(text, len, &rest) || *rest != '\0') {
        return false;
    }
    return !rd_text_ends(text, rd_text_starts(text, "https:") ? ":443" : ":80");
}

const struct rd_yaml_form rd_config_form_path = {is_path, "a path of 1 to 4095 bytes"};
const struct rd_yaml_form rd_config_form_host = {is_host,
                                                 "a host name or address without scheme and port"};
const struct rd_yaml_form rd_config_form_origin = {
    is_origin, "an origin such as https://app.example.org, or *"};
const struct rd_yaml_form rd_config_form_url = {
    is_url, "an http://, https://, grpc:// or grpcs:// URL with a host"};
const struct rd_yaml_form rd_config_form_url_path = {is_url_path, "a path that begins with /"};
const struct rd_yaml_form rd_config_form_tensor = {
    is_tensor, "a tensor's name of 1 to 128 bytes without control characters"};
const struct rd_yaml_form rd_config_form_server_model = {
    is_server_model, "a server's name for a model, 1 to 128 of a-z A-Z 0-9 - _ ."};
const struct rd_yaml_form rd_config_form_remote_model = {
    is_remote_model, "a server's name for a model, 1 to 256 visible ASCII characters"};
const struct rd_yaml_form rd_config_form_version = {is_version, "a version's number, 1 or more"};
const struct rd_yaml_form rd_config_form_public_url = {
    is_public_url, "an http:// or https:// URL with a host and no slash at its end"};
