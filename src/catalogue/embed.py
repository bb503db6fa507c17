#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# Writes a file's bytes as a C array.  usage: embed.py INPUT OUTPUT.c
# The build compiles api/catalogue.yaml in, so that the gateway runs with no file beside it.
import sys

with open(sys.argv[1], "rb") as source:
    data = source.read()
with open(sys.argv[2], "w", encoding="ascii") as out:
    out.write('#include "catalogue/catalogue_table.h"\n\n')
    out.write(f"const size_t rd_catalogue_default_len = {len(data)};\n")
    out.write("const unsigned char rd_catalogue_default[] = {\n")
    for start in range(0, len(data), 16):
        out.write("    " + " ".join(f"{byte}," for byte in data[start:start + 16]) + "\n")
    out.write("};\n")
