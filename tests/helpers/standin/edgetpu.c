/* Stand-in for libedgetpu.so.1: its C functions (edgetpu_c.h), with a virtual device behind them.
 *
 * The devices are named by STANDIN_DEVICES (pci=/dev/apex_0,usb=...), the delegate comes from the Python module
 * `standin` of the process that loaded the library, and STANDIN_FAIL says what goes wrong.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct { int type; const char *path; } edgetpu_device;
typedef struct { const char *name, *value; } edgetpu_option;
typedef struct {
  void *data;
  int (*prepare)(void *, void *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *builder;
} delegate;

static int fails(const char *how) {
  const char *wanted = getenv("STANDIN_FAIL");
  return wanted != NULL && strcmp(wanted, how) == 0;
}

static void crash_if(const char *how) {
  if (fails(how)) *(volatile int *)0 = 0;
}

static void hang_if(const char *how) {
  while (fails(how)) sleep(1);
}

__attribute__((constructor)) static void loaded(void) { crash_if("crash_load"); }

const char *edgetpu_version(void) {
  const char *version = getenv("STANDIN_VERSION");
  puts("a native library may print what it likes");
  fflush(stdout);
  return version ? version : "BuildLabel(COMPILER=stand-in,CL_NUMBER=317268237), RuntimeVersion(14)";
}

edgetpu_device *edgetpu_list_devices(size_t *count) {
  crash_if("crash_list");
  hang_if("hang_list");
  const char *listed = getenv("STANDIN_DEVICES");
  edgetpu_device *devices = calloc(16, sizeof *devices);
  *count = 0;
  if (listed == NULL || fails("no_device")) return devices;
  char *copy = strdup(listed);
  for (char *item = strtok(copy, ","); item != NULL && *count < 16; item = strtok(NULL, ",")) {
    devices[*count].type = strncmp(item, "usb=", 4) == 0;
    devices[(*count)++].path = item + 4;
  }
  return devices; /* leaks the copy, as nobody counts */
}

void edgetpu_free_devices(edgetpu_device *devices) { free(devices); }

void edgetpu_verbosity(int level) {
  char text[16];
  snprintf(text, sizeof text, "%d", level);
  setenv("STANDIN_VERBOSITY", text, 1);
}

static int crash_at_attach(void *context, void *self) {
  (void)context, (void)self;
  *(volatile int *)0 = 0;
  return 0;
}

static int fail_at_attach(void *context, void *self) {
  (void)context, (void)self;
  return 1;
}

/* Functions of the Python that loaded us; none are linked. */
#define PYTHON(result, name, ...) ((result(*)(__VA_ARGS__))dlsym(RTLD_DEFAULT, #name))

static unsigned long long ask_python(const char *method, const char *format, ...) {
  char arguments[4096];
  __builtin_va_list list;
  __builtin_va_start(list, format);
  vsnprintf(arguments, sizeof arguments, format, list);
  __builtin_va_end(list);
  int state = PYTHON(int, PyGILState_Ensure, void)();
  unsigned long long answer = 0;
  void *module = PYTHON(void *, PyImport_ImportModule, const char *)("standin");
  void *value = module ? PYTHON(void *, PyObject_CallMethod, void *, const char *, const char *, ...)(
                             module, method, "s", arguments) : NULL;
  if (value != NULL) answer = PYTHON(unsigned long long, PyLong_AsUnsignedLongLong, void *)(value);
  else PYTHON(void, PyErr_Print, void)();
  PYTHON(void, PyGILState_Release, int)(state);
  return answer;
}

void *edgetpu_create_delegate(int type, const char *path, const edgetpu_option *options, size_t count) {
  crash_if("crash_open");
  if (fails("refuse")) return NULL;
  if (fails("crash_attach") || fails("fail_attach")) {
    static delegate broken;
    broken.prepare = fails("crash_attach") ? crash_at_attach : fail_at_attach;
    broken.flags = 1;
    return &broken;
  }
  char text[2048] = "";
  for (size_t i = 0; i < count; i++) {
    strncat(text, options[i].name, 500);
    strncat(text, "=", 2);
    strncat(text, options[i].value, 500);
    strncat(text, ";", 2);
  }
  return (void *)(uintptr_t)ask_python("create", "%s %s %s", type ? "usb" : "pci", path, text);
}

void edgetpu_free_delegate(void *address) {
  if (address != NULL) ask_python("free", "%llu", (unsigned long long)(uintptr_t)address);
}
