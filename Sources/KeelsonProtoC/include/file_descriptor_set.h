#pragma once
#include <stddef.h>
#include <stdint.h>

// All of proto/ as a serialized google.protobuf.FileDescriptorSet, without comments; each file
// after those it imports.
extern const size_t keelson_file_descriptor_set_bytes;
extern const uint8_t keelson_file_descriptor_set[];

static inline const uint8_t *keelson_file_descriptor_set_start(void) {
  return keelson_file_descriptor_set;
}
