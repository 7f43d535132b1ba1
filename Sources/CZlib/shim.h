#include <zlib.h>

// deflateInit2 and inflateInit2 are macros with the library's version and the struct's size in
// them, which Swift does not import. Window bits of 15 + 16 stand for gzip.
static inline int keelson_gzip_deflate_init(z_stream *stream, int level) {
  return deflateInit2(stream, level, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
}

static inline int keelson_gzip_inflate_init(z_stream *stream) {
  return inflateInit2(stream, 15 + 16);
}
