// Streams on which one message waits for another: a single thread, epoll, nghttp2.
//
//   ping_pong PORT CONNECTIONS STREAMS MESSAGES PATH REQUEST_FILE ANSWER_BYTES
//
// Opens STREAMS streams of PATH on each of CONNECTIONS connections to 127.0.0.1. Each sends the
// framed message in REQUEST_FILE, waits for an answer of ANSWER_BYTES, its prefix included, and so
// on MESSAGES times; then it ends its side, and grpc-status must be 0. Prints
// "MESSAGES_IN_ALL SECONDS". Anything unexpected ends the program with a message and exit code 1.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  buffer_bytes = 256 * 1024,
  request_bytes_maximum = 1024,
  window_bytes = 16 * 1024 * 1024,
  patience_milliseconds = 60 * 1000,
};

struct stream {
  size_t unsent_bytes;  // Of the request under way.
  size_t answered_bytes;
  size_t answers;
  bool is_ok;
};

struct connection {
  int fd;
  nghttp2_session *session;
};

static size_t messages, answer_bytes, open_streams;
static uint8_t request[request_bytes_maximum];
static size_t request_bytes;
static uint8_t buffer[buffer_bytes];

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("ping_pong: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static double now_seconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static ssize_t read_request(nghttp2_session *session, int32_t id, uint8_t *room, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *data) {
  (void)session, (void)id, (void)data;
  struct stream *stream = source->ptr;
  if (stream->answers == messages) {
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    return 0;
  }
  if (stream->unsent_bytes == 0) return NGHTTP2_ERR_DEFERRED;
  size_t count = stream->unsent_bytes < length ? stream->unsent_bytes : length;
  memcpy(room, request + request_bytes - stream->unsent_bytes, count);
  stream->unsent_bytes -= count;
  return (ssize_t)count;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *bytes,
                   size_t length, void *data) {
  (void)flags, (void)bytes, (void)data;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
  stream->answered_bytes += length;
  if (stream->answered_bytes > answer_bytes) die("an answer came that was not asked for");
  if (stream->answered_bytes < answer_bytes) return 0;
  stream->answered_bytes = 0;
  stream->answers += 1;
  stream->unsent_bytes = request_bytes;
  return nghttp2_session_resume_data(session, id);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t value_length, uint8_t flags,
                     void *data) {
  (void)flags, (void)data;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (name_length == 11 && memcmp(name, "grpc-status", 11) == 0) {
    stream->is_ok = value_length == 1 && value[0] == '0';
  }
  return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t error, void *data) {
  (void)data;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
  if (error != NGHTTP2_NO_ERROR || !stream->is_ok || stream->answers != messages) {
    die("a stream ended with error %u after %zu answers", error, stream->answers);
  }
  open_streams -= 1;
  return 0;
}

static int connect_to(uint16_t port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) != 0) {
    die("cannot connect: %s", strerror(errno));
  }
  int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

static nghttp2_nv field(const char *name, const char *value) {
  return (nghttp2_nv){(uint8_t *)name, (uint8_t *)value, strlen(name), strlen(value),
                      NGHTTP2_NV_FLAG_NONE};
}

static void open_streams_on(struct connection *connection, size_t count, const char *path) {
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  if (nghttp2_session_client_new(&connection->session, callbacks, NULL) != 0) die("no memory");
  nghttp2_session_callbacks_del(callbacks);
  nghttp2_settings_entry window = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window_bytes};
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, &window, 1);
  nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, window_bytes);
  nghttp2_nv fields[] = {
      field(":method", "POST"),         field(":scheme", "http"),
      field(":path", path),             field(":authority", "127.0.0.1"),
      field("te", "trailers"),          field("content-type", "application/grpc"),
  };
  for (size_t index = 0; index < count; index++) {
    struct stream *stream = calloc(1, sizeof *stream);
    if (stream == NULL) die("no memory");
    stream->unsent_bytes = request_bytes;
    nghttp2_data_provider provider = {.source = {.ptr = stream}, .read_callback = read_request};
    if (nghttp2_submit_request(connection->session, NULL, fields, sizeof fields / sizeof *fields,
                               &provider, stream) < 0) {
      die("cannot open a stream");
    }
    open_streams += 1;
  }
}

// Writes all there is to say: requests are small and the sockets block.
static void flush(struct connection *connection) {
  size_t filled = 0;
  for (;;) {
    const uint8_t *bytes;
    ssize_t count = nghttp2_session_mem_send(connection->session, &bytes);
    if (count < 0) die("cannot send: %s", nghttp2_strerror((int)count));
    if (count > 0 && filled + (size_t)count <= sizeof buffer) {
      memcpy(buffer + filled, bytes, (size_t)count);
      filled += (size_t)count;
      continue;
    }
    for (size_t sent = 0; sent < filled;) {
      ssize_t written = send(connection->fd, buffer + sent, filled - sent, MSG_NOSIGNAL);
      if (written < 0) die("cannot write: %s", strerror(errno));
      sent += (size_t)written;
    }
    if (count == 0) return;
    if ((size_t)count > sizeof buffer) die("a frame is too long");
    memcpy(buffer, bytes, (size_t)count);
    filled = (size_t)count;
  }
}

static void receive(struct connection *connection) {
  ssize_t count = recv(connection->fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (count < 0 && errno == EAGAIN) return;
  if (count <= 0) die("the server went away");
  ssize_t taken = nghttp2_session_mem_recv(connection->session, buffer, (size_t)count);
  if (taken < 0) die("cannot read: %s", nghttp2_strerror((int)taken));
  flush(connection);
}

int main(int argc, char **argv) {
  if (argc != 8) {
    die("usage: PORT CONNECTIONS STREAMS MESSAGES PATH REQUEST_FILE ANSWER_BYTES");
  }
  size_t connection_count = strtoul(argv[2], NULL, 10), streams = strtoul(argv[3], NULL, 10);
  messages = strtoul(argv[4], NULL, 10);
  answer_bytes = strtoul(argv[7], NULL, 10);
  FILE *file = fopen(argv[6], "rb");
  if (file == NULL) die("cannot open %s: %s", argv[6], strerror(errno));
  request_bytes = fread(request, 1, sizeof request, file);
  if (!feof(file) || request_bytes == 0) die("%s is empty or too long", argv[6]);
  fclose(file);

  int epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  struct connection *connections = calloc(connection_count, sizeof *connections);
  if (epoll_fd < 0 || connections == NULL) die("no memory");
  double begin = now_seconds();
  for (size_t index = 0; index < connection_count; index++) {
    connections[index].fd = connect_to((uint16_t)strtoul(argv[1], NULL, 10));
    struct epoll_event event = {.events = EPOLLIN, .data = {.ptr = &connections[index]}};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connections[index].fd, &event);
    open_streams_on(&connections[index], streams, argv[5]);
    flush(&connections[index]);
  }
  while (open_streams > 0) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll_fd, events, 64, patience_milliseconds);
    if (count == 0) die("no answer for %d ms", patience_milliseconds);
    for (int index = 0; index < count; index++) receive(events[index].data.ptr);
  }
  printf("%zu %f\n", connection_count * streams * messages, now_seconds() - begin);
  return 0;
}
