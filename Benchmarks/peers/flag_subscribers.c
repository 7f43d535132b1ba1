// Many gRPC subscribers and one caller in one cheap process: a single thread, epoll, nghttp2.
//
//   flag_subscribers HOST:PORT CONNECTIONS STREAMS WATCH_PATH WATCH_BODY [etcd]
//
// Opens STREAMS streams of WATCH_PATH, spread evenly over CONNECTIONS connections, each with the
// protobuf message in the file WATCH_BODY, and one more connection for calls. Once every stream has
// had its first message it prints "ready MILLISECONDS", and takes commands from a pipe or terminal:
//
//   call PATH FILE            one unary call; prints "ok MICROSECONDS" or "failed CODE MESSAGE"
//   publish N PATH FILE...    N unary calls, one after the other, with the FILEs in turn. Each
//                             must make a change that reaches every stream. The next call starts
//                             when the last stream has it. For each prints "change CALL FIRST LAST
//                             MESSAGES": microseconds from the start of the call to its response,
//                             to the first arrival and to the last, and how many messages came.
//   quit
//
// A stream's message must begin with field 1, an int64 revision; with "etcd", a header. A change
// has reached a stream when the stream has seen the highest revision that any stream has seen.
// Messages that do not raise a stream's revision (heartbeats) are not counted.
//
// All times are of CLOCK_MONOTONIC. Anything unexpected ends it with a message and exit code 1.

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
  frame_header_bytes = 5,
  // Of each message only this much is looked at.
  looked_at_bytes = frame_header_bytes + 2 + 3 * 11,  // Three tags and varints within a field.
  read_buffer_bytes = 256 * 1024,
  body_bytes_maximum = 64 * 1024,
  window_bytes = 16 * 1024 * 1024,
  patience_milliseconds = 60 * 1000,
};

struct body {
  uint8_t *bytes;  // Framed for gRPC.
  size_t length;
};

struct stream {
  const struct body *body;
  size_t sent_bytes;
  uint8_t head[looked_at_bytes];  // The beginning of the message that is arriving.
  uint32_t head_bytes;
  uint32_t left_bytes;  // Of the message, once its length is known.
  int64_t revision;
  int grpc_status;  // -1 until it came.
  char grpc_message[200];
  bool is_call;
  bool has_message;
};

struct connection {
  int fd;
  nghttp2_session *session;
  uint8_t *out;  // What the socket has not taken yet.
  size_t out_start, out_end, out_capacity;
  bool wants_writable;
};

static int epoll_fd;
static char authority[200];
static struct connection *connections;  // The last one is for calls.
static size_t connection_count;
static uint8_t read_buffer[read_buffer_bytes];

static size_t stream_count;
static size_t streams_with_message;

// The change under way.
static int64_t highest_revision;
static size_t streams_at_highest;
static uint64_t first_arrival, last_arrival;  // 0: not yet.
static uint64_t messages;

// The call under way.
static struct stream call;
static bool call_is_done;
static uint64_t call_end;

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fputs("flag_subscribers: ", stderr);
  vfprintf(stderr, format, arguments);
  fputc('\n', stderr);
  va_end(arguments);
  exit(1);
}

static uint64_t now_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static struct body read_body(const char *path) {
  FILE *file = fopen(path, "rb");
  if (!file) die("cannot open %s: %s", path, strerror(errno));
  struct body body = {malloc(frame_header_bytes + body_bytes_maximum), 0};
  if (!body.bytes) die("out of memory");
  size_t length = fread(body.bytes + frame_header_bytes, 1, body_bytes_maximum, file);
  if (ferror(file) || !feof(file)) die("cannot read %s, or it is too long", path);
  fclose(file);
  uint32_t network_length = htonl((uint32_t)length);
  body.bytes[0] = 0;
  memcpy(body.bytes + 1, &network_length, sizeof network_length);
  body.length = frame_header_bytes + length;
  return body;
}

// MARK: Messages

static bool is_etcd;

// The int64 in field 1, with which the message begins; of etcd's, field 3 of the header in field 1.
static int64_t revision_of(const struct stream *stream) {
  const uint8_t *byte = stream->head + frame_header_bytes + (is_etcd ? 2 : 0);
  for (const uint8_t *end = stream->head + stream->head_bytes; byte < end;) {
    uint8_t tag = *byte++;
    uint64_t value = 0;
    for (int shift = 0; byte < end && shift < 64; shift += 7) {
      value |= (uint64_t)(*byte & 0x7f) << shift;
      if (!(*byte++ & 0x80)) break;
    }
    if (tag == (is_etcd ? 0x18 : 0x08)) return (int64_t)value;
  }
  return 0;
}

static void message_arrived(struct stream *stream) {
  if (stream->is_call) return;
  int64_t revision = revision_of(stream);
  if (!stream->has_message) {
    stream->has_message = true;
    streams_with_message++;
  } else if (revision <= stream->revision) {
    return;  // A heartbeat.
  } else {
    messages++;
  }
  stream->revision = revision;
  if (revision > highest_revision) {
    highest_revision = revision;
    streams_at_highest = 0;
    last_arrival = 0;
    if (!first_arrival) first_arrival = now_nanoseconds();
  }
  if (revision == highest_revision && ++streams_at_highest == stream_count) {
    last_arrival = now_nanoseconds();
  }
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data,
                   size_t length, void *context) {
  (void)flags, (void)context;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
  if (!stream) return 0;
  while (length > 0) {
    if (stream->head_bytes < frame_header_bytes) {
      stream->head[stream->head_bytes++] = *data++;
      length--;
      if (stream->head_bytes < frame_header_bytes) continue;
      uint32_t network_length;
      memcpy(&network_length, stream->head + 1, sizeof network_length);
      stream->left_bytes = ntohl(network_length);
    }
    size_t taken = length < stream->left_bytes ? length : stream->left_bytes;
    size_t kept = looked_at_bytes - stream->head_bytes;
    if (kept > taken) kept = taken;
    memcpy(stream->head + stream->head_bytes, data, kept);
    stream->head_bytes += (uint32_t)kept;
    stream->left_bytes -= (uint32_t)taken;
    data += taken;
    length -= taken;
    if (stream->left_bytes == 0) {
      message_arrived(stream);
      stream->head_bytes = 0;
    }
  }
  return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t value_length,
                     uint8_t flags, void *context) {
  (void)flags, (void)context;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!stream) return 0;
  if (name_length == 11 && memcmp(name, "grpc-status", 11) == 0) {
    stream->grpc_status = atoi((const char *)value);
  } else if (name_length == 12 && memcmp(name, "grpc-message", 12) == 0) {
    snprintf(stream->grpc_message, sizeof stream->grpc_message, "%.*s", (int)value_length, value);
  } else if (name_length == 7 && memcmp(name, ":status", 7) == 0 &&
             (value_length != 3 || memcmp(value, "200", 3) != 0)) {
    snprintf(stream->grpc_message, sizeof stream->grpc_message, "HTTP status %.*s",
             (int)value_length, value);
  }
  return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t id, uint32_t error, void *context) {
  (void)context;
  struct stream *stream = nghttp2_session_get_stream_user_data(session, id);
  if (!stream) return 0;
  if (!stream->is_call) {
    die("a subscriber's stream ended: grpc-status %d, %s, HTTP/2 error %u", stream->grpc_status,
        stream->grpc_message, error);
  }
  call_end = now_nanoseconds();
  call_is_done = true;
  return 0;
}

// MARK: Connections

static ssize_t read_request(nghttp2_session *session, int32_t id, uint8_t *buffer, size_t length,
                            uint32_t *flags, nghttp2_data_source *source, void *context) {
  (void)session, (void)id, (void)context;
  struct stream *stream = source->ptr;
  size_t left = stream->body->length - stream->sent_bytes;
  size_t count = left < length ? left : length;
  memcpy(buffer, stream->body->bytes + stream->sent_bytes, count);
  stream->sent_bytes += count;
  if (count == left) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return (ssize_t)count;
}

static void start_stream(struct connection *connection, struct stream *stream, const char *path,
                         const struct body *body) {
  stream->body = body;
  stream->grpc_status = -1;
#define HEADER(name, value) \
  {(uint8_t *)(name), (uint8_t *)(value), strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE}
  nghttp2_nv headers[] = {
      HEADER(":method", "POST"),  HEADER(":scheme", "http"),
      HEADER(":path", path),      HEADER(":authority", authority),
      HEADER("te", "trailers"),   HEADER("content-type", "application/grpc"),
  };
  nghttp2_data_provider provider = {.source.ptr = stream, .read_callback = read_request};
  int32_t id = nghttp2_submit_request(connection->session, NULL, headers,
                                      sizeof headers / sizeof *headers, &provider, stream);
  if (id < 0) die("cannot start a stream: %s", nghttp2_strerror(id));
}

// Writes what the session has, as far as the socket takes it.
static void flush(struct connection *connection) {
  for (;;) {
    while (connection->out_start < connection->out_end) {
      ssize_t count = write(connection->fd, connection->out + connection->out_start,
                            connection->out_end - connection->out_start);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0 && errno == EAGAIN) goto watch;
      if (count < 0) die("cannot write: %s", strerror(errno));
      connection->out_start += (size_t)count;
    }
    connection->out_start = connection->out_end = 0;
    while (connection->out_end < read_buffer_bytes) {
      const uint8_t *data;
      ssize_t count = nghttp2_session_mem_send(connection->session, &data);
      if (count < 0) die("cannot send: %s", nghttp2_strerror((int)count));
      if (count == 0) break;
      if (connection->out_end + (size_t)count > connection->out_capacity) {
        connection->out_capacity = (connection->out_end + (size_t)count) * 2;
        connection->out = realloc(connection->out, connection->out_capacity);
        if (!connection->out) die("out of memory");
      }
      memcpy(connection->out + connection->out_end, data, (size_t)count);
      connection->out_end += (size_t)count;
    }
    if (connection->out_end == 0) break;
  }
watch:;
  bool wants_writable = connection->out_end > 0;
  if (wants_writable == connection->wants_writable) return;
  connection->wants_writable = wants_writable;
  struct epoll_event event = {.events = EPOLLIN | (wants_writable ? EPOLLOUT : 0),
                              .data.ptr = connection};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_MOD, connection->fd, &event)) die("epoll_ctl failed");
}

static void receive(struct connection *connection) {
  for (;;) {
    ssize_t count = read(connection->fd, read_buffer, sizeof read_buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count < 0) die("cannot read: %s", strerror(errno));
    if (count == 0) die("the server closed a connection");
    ssize_t result = nghttp2_session_mem_recv(connection->session, read_buffer, (size_t)count);
    if (result < 0) die("bad HTTP/2: %s", nghttp2_strerror((int)result));
    if ((size_t)count < sizeof read_buffer) break;
  }
  flush(connection);
}

static void open_connection(struct connection *connection, const struct addrinfo *address,
                            nghttp2_session_callbacks *callbacks) {
  connection->fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (connection->fd < 0) die("cannot make a socket: %s", strerror(errno));
  if (connect(connection->fd, address->ai_addr, address->ai_addrlen)) {
    die("cannot connect to %s: %s", authority, strerror(errno));
  }
  int one = 1;
  setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  // Connecting waited; from here on nothing does.
  if (fcntl(connection->fd, F_SETFL, O_NONBLOCK)) die("cannot set non-blocking");
  if (nghttp2_session_client_new(&connection->session, callbacks, connection)) {
    die("out of memory");
  }
  nghttp2_settings_entry settings[] = {
      {NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
      {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window_bytes},
  };
  nghttp2_submit_settings(connection->session, NGHTTP2_FLAG_NONE, settings, 2);
  nghttp2_session_set_local_window_size(connection->session, NGHTTP2_FLAG_NONE, 0, window_bytes);
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, connection->fd, &event)) die("epoll_ctl failed");
}

// Serves the connections until the condition holds; without patience's end when `what` is NULL.
static void run_until(bool (*condition)(void), const char *what) {
  uint64_t give_up = now_nanoseconds() + patience_milliseconds * UINT64_C(1000000);
  while (!condition()) {
    struct epoll_event events[64];
    int count = epoll_wait(epoll_fd, events, 64, 1000);
    if (count < 0 && errno != EINTR) die("epoll_wait failed: %s", strerror(errno));
    for (int i = 0; i < count; i++) {
      struct connection *connection = events[i].data.ptr;
      if (!connection) continue;
      if (events[i].events & EPOLLOUT) flush(connection);
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
    }
    if (what && now_nanoseconds() > give_up) {
      die("gave up after %d s waiting for %s: %zu of %zu streams have had a message, %zu are at "
          "revision %" PRId64,
          patience_milliseconds / 1000, what, streams_with_message, stream_count,
          streams_at_highest, highest_revision);
    }
  }
}

// MARK: Commands

static bool all_are_ready(void) { return streams_with_message == stream_count; }
static bool call_has_ended(void) { return call_is_done; }
static bool change_has_arrived(void) { return call_is_done && first_arrival && last_arrival; }

static void start_call(const char *path, const struct body *body) {
  struct connection *connection = &connections[connection_count - 1];
  memset(&call, 0, sizeof call);
  call.is_call = true;
  call_is_done = false;
  start_stream(connection, &call, path, body);
  flush(connection);
}

static void do_call(const char *path, const char *file) {
  struct body body = read_body(file);
  uint64_t start = now_nanoseconds();
  start_call(path, &body);
  run_until(call_has_ended, "a call's response");
  if (call.grpc_status == 0) {
    printf("ok %.1f\n", (double)(call_end - start) / 1e3);
  } else {
    printf("failed %d %s\n", call.grpc_status, call.grpc_message);
  }
  free(body.bytes);
}

static void do_publish(long count, const char *path, struct body *bodies, size_t body_count) {
  for (long i = 0; i < count; i++) {
    int64_t before = highest_revision;
    first_arrival = last_arrival = messages = 0;
    uint64_t start = now_nanoseconds();
    start_call(path, &bodies[(size_t)i % body_count]);
    run_until(call_has_ended, "a call's response");
    if (call.grpc_status != 0) die("a call failed: %d %s", call.grpc_status, call.grpc_message);
    run_until(change_has_arrived, "a change to arrive everywhere");
    if (highest_revision <= before) die("a change did not raise the revision");
    printf("change %.1f %.1f %.1f %" PRIu64 "\n", (double)(call_end - start) / 1e3,
           (double)(first_arrival - start) / 1e3, (double)(last_arrival - start) / 1e3, messages);
  }
}

// Takes one command; false when there are no more.
static bool take_command(void) {
  char line[4096];
  if (!fgets(line, sizeof line, stdin)) return false;
  char *words[16] = {0};
  size_t word_count = 0;
  for (char *word = strtok(line, " \n"); word && word_count < 16; word = strtok(NULL, " \n")) {
    words[word_count++] = word;
  }
  if (word_count == 1 && strcmp(words[0], "quit") == 0) return false;
  if (word_count == 3 && strcmp(words[0], "call") == 0) {
    do_call(words[1], words[2]);
  } else if (word_count >= 4 && strcmp(words[0], "publish") == 0) {
    struct body bodies[16];
    size_t body_count = word_count - 3;
    for (size_t i = 0; i < body_count; i++) bodies[i] = read_body(words[3 + i]);
    do_publish(atol(words[1]), words[2], bodies, body_count);
    for (size_t i = 0; i < body_count; i++) free(bodies[i].bytes);
    puts("done");
  } else {
    die("unknown command: %s", word_count ? words[0] : "");
  }
  fflush(stdout);
  return true;
}

// Between commands the connections are served (pings, heartbeats) until input arrives.
static bool input_has_arrived(void) {
  struct timespec none = {0, 0};
  fd_set set;
  FD_ZERO(&set);
  FD_SET(STDIN_FILENO, &set);
  return pselect(STDIN_FILENO + 1, &set, NULL, NULL, &none, NULL) == 1;
}

static void wait_for_input(void) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
  if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, STDIN_FILENO, &event)) die("cannot wait for input");
  run_until(input_has_arrived, NULL);
  epoll_ctl(epoll_fd, EPOLL_CTL_DEL, STDIN_FILENO, NULL);
}

int main(int argc, char **argv) {
  is_etcd = argc == 7 && strcmp(argv[6], "etcd") == 0;
  if (argc != 6 && !is_etcd) {
    fputs("usage: flag_subscribers HOST:PORT CONNECTIONS STREAMS PATH BODY [etcd]\n", stderr);
    return 2;
  }
  snprintf(authority, sizeof authority, "%s", argv[1]);
  char host[200];
  snprintf(host, sizeof host, "%s", argv[1]);
  char *colon = strrchr(host, ':');
  if (!colon) die("an address is HOST:PORT");
  *colon = '\0';
  connection_count = (size_t)atol(argv[2]) + 1;
  stream_count = (size_t)atol(argv[3]);
  struct body body = read_body(argv[5]);

  struct rlimit files;
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);

  struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *address;
  int error = getaddrinfo(host, colon + 1, &hints, &address);
  if (error) die("cannot find %s: %s", argv[1], gai_strerror(error));

  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);

  epoll_fd = epoll_create1(EPOLL_CLOEXEC);
  connections = calloc(connection_count, sizeof *connections);
  struct stream *streams = calloc(stream_count + 1, sizeof *streams);
  if (epoll_fd < 0 || !connections || !streams) die("out of memory");

  // So that select() sees every command that has not been taken.
  setvbuf(stdin, NULL, _IONBF, 0);

  uint64_t start = now_nanoseconds();
  for (size_t i = 0; i < connection_count; i++) {
    open_connection(&connections[i], address, callbacks);
  }
  for (size_t i = 0; i < stream_count; i++) {
    start_stream(&connections[i % (connection_count - 1)], &streams[i], argv[4], &body);
  }
  for (size_t i = 0; i < connection_count; i++) flush(&connections[i]);
  run_until(all_are_ready, "the first messages");
  printf("ready %.1f\n", (double)(now_nanoseconds() - start) / 1e6);
  fflush(stdout);

  do {
    wait_for_input();
  } while (take_command());
  return 0;
}
