/* SPDX-License-Identifier: Apache-2.0
 *
 * The script that tests of the process engine run: the test program itself, started again with
 * "--script". What it does, good or bad, is the prompt of its request. */
#ifndef RD_TESTS_ENGINE_PROCESS_SCRIPT_H
#define RD_TESTS_ENGINE_PROCESS_SCRIPT_H

enum { PROCESS_SCRIPT_PICTURE = 5000 }; /* bytes of a good one */

/* The pictures that "sources" wants to find. */
#define PROCESS_SCRIPT_IMAGE "\x89PNG\r\n\x1a\n....image"
#define PROCESS_SCRIPT_MASK "\xff\xd8\xff.........mask"

int process_script_main(void);

#endif
