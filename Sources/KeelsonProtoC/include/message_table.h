#pragma once
#include <protobuf-c/protobuf-c.h>
#include <stdint.h>

// What the scan of incoming bytes needs to know of a message. protobuf-c's own descriptor does
// not do: it no longer tells strings from bytes (see LoweredDescriptorSet in the generator).

typedef enum {
  KEELSON_VARINT = 0,
  KEELSON_FIXED64 = 1,
  KEELSON_FIXED32 = 2,
  KEELSON_STRING = 3,
  KEELSON_BYTES = 4,
  KEELSON_MESSAGE = 5,
} keelson_field_kind;

typedef struct keelson_message_table keelson_message_table;

typedef struct {
  uint32_t number;
  // A keelson_field_kind.
  uint8_t kind;
  uint8_t is_repeated;
  // As in the .proto file.
  const char *name;
  // The field's message, when its kind is KEELSON_MESSAGE.
  const keelson_message_table *message;
} keelson_field;

struct keelson_message_table {
  // `keelson.flags.v1.Flag` for example.
  const char *name;
  uint32_t field_count;
  // By rising number.
  const keelson_field *fields;
  const ProtobufCMessageDescriptor *descriptor;
};
