/* SPDX-License-Identifier: Apache-2.0
 *
 * Names are lower case so that two of them never differ by case alone, and safe in a path, a header
 * and a log line. */
#include "yaml/forms.h"

#include <string.h>

static bool is_name(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        bool alnum = (text[i] >= 'a' && text[i] <= 'z') || (text[i] >= '0' && text[i] <= '9');
        bool mark = text[i] == '-' || text[i] == '_' || text[i] == '.';
        if (!alnum && (i == 0 || !mark)) {
            return false;
        }
    }
    return len >= 1 && len <= RD_YAML_NAME_LEN_MAX;
}

static bool is_model(const char *text, size_t len)
{
    const char *slash = memchr(text, '/', len);
    return slash != NULL && is_name(text, (size_t)(slash - text)) &&
           is_name(slash + 1, len - (size_t)(slash - text) - 1);
}

const struct rd_yaml_form rd_yaml_form_name = {
    is_name, "a name of 1 to 64 of a-z 0-9 - _ . that starts with a letter or digit"};
const struct rd_yaml_form rd_yaml_form_model = {
    is_model, "a model as family/model, such as flux/dev, in lower case"};
