/* Stand-in for a runtime library of another age: REGISTRATION, TENSOR (bytes) and BUILDER say which structs it knows.
 *
 * Its delegate takes `edgetpu-custom-op` nodes as the vendor's does, one by one, looks for the nodes it made, checks
 * types and sizes of its tensors, resizes its output to its input, and computes: each output is 3 x the sum of the
 * inputs + 1, modulo 256. STANDIN_DEVICES names its devices, STANDIN_LOG is told of every delegate, STANDIN_FAIL says
 * what goes wrong.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int size; int data[]; } ints;
typedef struct {
  int type;
  unsigned char *data;
  ints *dims;
  float scale;
  int zero_point, allocation_type;
  size_t bytes;
  void *allocation;
  const char *name;
  void *delegate;
  int buffer_handle;
  char stale, variable;
  int quantization;
  void *params;
#if TENSOR >= 104
  void *sparsity;
#endif
#if TENSOR >= 112
  void *dims_signature;
#endif
} tensor;
_Static_assert(sizeof(tensor) == TENSOR, "tensor");
typedef struct { ints *inputs, *outputs, *intermediates, *temporaries; void *user, *builtin; const char *custom; int size; void *delegate; } node;
typedef struct context context;
typedef struct {
  void *(*init)(context *, const char *, size_t);
  void (*free)(context *, void *);
  int (*prepare)(context *, node *);
  int (*invoke)(context *, node *);
  void *profiling;
  int builtin;
  const char *custom;
  int version;
#if REGISTRATION >= 88
  void *external, *async;
  uint64_t inplace;
#endif
} registration;
_Static_assert(sizeof(registration) == REGISTRATION, "registration");
typedef struct delegate {
  void *data;
  int (*prepare)(context *, struct delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
#if BUILDER
  void *builder;
#endif
  const char *behind[2]; /* as the vendor's class has: what LiteRT takes for the builder when there is none */
} delegate;
struct context {
  size_t count;
  int (*plan)(context *, ints **);
  tensor *tensors;
  void *impl;
  int (*resize)(context *, tensor *, ints *);
  void (*report)(context *, const char *, ...);
  int (*add)(context *, int, int *);
  int (*get)(context *, int, node **, registration **);
  int (*replace)(context *, registration, ints *, delegate *);
};
typedef struct { delegate *made_by; ints *nodes, *inputs, *outputs; } params;
typedef struct { int type; const char *path; } edgetpu_device;
typedef struct { const char *name, *value; } edgetpu_option;

static int fails(const char *how) {
  const char *wanted = getenv("STANDIN_FAIL");
  return wanted != NULL && strcmp(wanted, how) == 0;
}

static void note(const char *event) {
  const char *path = getenv("STANDIN_LOG");
  FILE *file = path ? fopen(path, "a") : NULL;
  if (file == NULL) return;
  fprintf(file, "{\"event\": \"%s\", \"pid\": %d}\n", event, (int)getpid());
  fclose(file);
}

static void *init(context *c, const char *buffer, size_t length) {
  const params *given = (const params *)buffer;
  node *original;
  registration *its;
  if (given->made_by->behind[0] == NULL || given->nodes->size != 1) abort();
  if (c->get(c, given->nodes->data[0], &original, &its) != 0) abort();
  return calloc(1, 16);
}

static void discard(context *c, void *user) {
  note("node");
  free(user);
}

static int check(context *c, node *n) {
  const tensor *first = &c->tensors[n->inputs->data[0]];
  for (int i = 0; i < n->inputs->size + n->outputs->size; i++) {
    int index = i < n->inputs->size ? n->inputs->data[i] : n->outputs->data[i - n->inputs->size];
    const tensor *t = &c->tensors[index];
    if (t->type != 3 && t->type != 9) {
      c->report(c, "Unsupported data type in custom op handler: %d", t->type);
      return 1;
    }
    if (t->bytes != first->bytes) {
      c->report(c, "%d bytes, not %d", (int)t->bytes, (int)first->bytes);
      return 1;
    }
  }
  return 0;
}

static int prepare(context *c, node *n) {
  const tensor *in = &c->tensors[n->inputs->data[0]];
  for (int i = 0; i < n->outputs->size; i++) {
    tensor *out = &c->tensors[n->outputs->data[i]];
    if (out->type != in->type || out->dims->size != in->dims->size || out->dims->data[0] == in->dims->data[0]) continue;
    ints *wanted = malloc(sizeof(int) * (1 + in->dims->size));
    memcpy(wanted, in->dims, sizeof(int) * (1 + in->dims->size));
    if (c->resize(c, out, wanted) != 0) return 1;
    if (out->dims->data[0] != in->dims->data[0]) abort(); /* seen at once, as in its time */
  }
  return check(c, n);
}

static int invoke(context *c, node *n) {
  if (fails("fail_invoke")) {
    c->report(c, "the stand-in was told to fail");
    return 1;
  }
  if (n->user == NULL || check(c, n)) return 1;
  size_t size = c->tensors[n->outputs->data[0]].bytes;
  for (int o = 0; o < n->outputs->size; o++)
    for (size_t i = 0; i < size; i++) {
      unsigned sum = 0;
      for (int k = 0; k < n->inputs->size; k++) sum += c->tensors[n->inputs->data[k]].data[i];
      c->tensors[n->outputs->data[o]].data[i] = 3 * sum + 1;
    }
  return 0;
}

static int prepare_graph(context *c, delegate *self) {
  ints *plan;
  int wanted[256], found = 0, made = 0;
  if (c->plan(c, &plan) != 0) return 1;
  for (int i = 0; i < plan->size && found < 256; i++) {
    node *n;
    registration *r;
    if (c->get(c, plan->data[i], &n, &r) != 0) return 1;
    if (r->custom != NULL && strcmp(r->custom, "edgetpu-custom-op") == 0) wanted[found++] = plan->data[i];
  }
  registration ours = {init, discard, prepare, invoke};
  ours.custom = "StandinForCustomOp";
  ours.version = 1;
  ints *one = malloc(2 * sizeof(int));
  one->size = 1;
  for (int i = 0; i < found; i++) {
    one->data[0] = wanted[i];
    if (c->replace(c, ours, one, self) != 0) return 1;
  }
  free(one);
  /* As the PoseNet decoder does: its nodes are those of its delegate. */
  if (c->plan(c, &plan) != 0) return 1;
  for (int i = 0; i < plan->size; i++) {
    node *n;
    registration *r;
    if (c->get(c, plan->data[i], &n, &r) != 0) return 1;
    made += n->delegate == self;
  }
  return made != found;
}

static void *make(void) {
  while (fails("hang_open")) sleep(1);
  if (fails("crash_open")) abort();
  if (fails("refuse")) return NULL;
  delegate *made = calloc(1, sizeof *made);
  made->prepare = prepare_graph;
  made->flags = 1;
  made->behind[0] = made->behind[1] = "what lies behind the struct";
  note("create");
  return made;
}

static void unmake(void *address) {
  if (address == NULL) return;
  note("free");
  memset(address, 0xA5, sizeof(delegate)); /* who still looks at it crashes */
  free(address);
}

const char *edgetpu_version(void) { return "BuildLabel(COMPILER=stand-in,CL_NUMBER=1), RuntimeVersion(14)"; }

edgetpu_device *edgetpu_list_devices(size_t *count) {
  const char *listed = getenv("STANDIN_DEVICES");
  edgetpu_device *devices = calloc(1, sizeof *devices);
  *count = listed != NULL;
  if (listed != NULL) {
    devices->type = strncmp(listed, "usb=", 4) == 0;
    devices->path = listed + 4;
  }
  return devices;
}

void edgetpu_free_devices(edgetpu_device *devices) { free(devices); }
void edgetpu_verbosity(int level) { (void)level; }
void *edgetpu_create_delegate(int type, const char *path, const edgetpu_option *options, size_t count) { return make(); }
void edgetpu_free_delegate(void *address) { unmake(address); }
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) {
  void *made = make();
  if (made == NULL) report("the stand-in refuses");
  return made;
}
void tflite_plugin_destroy_delegate(void *address) { unmake(address); }
