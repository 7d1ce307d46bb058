/* What a stand-in for libusb-1.0 has to share with the programs that call it: its public binary interface, no more. */
#pragma once
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

typedef struct libusb_context libusb_context;
typedef struct libusb_device libusb_device;
typedef struct libusb_device_handle libusb_device_handle;
struct libusb_device_descriptor {
  uint8_t bLength, bDescriptorType;
  uint16_t bcdUSB;
  uint8_t bDeviceClass, bDeviceSubClass, bDeviceProtocol, bMaxPacketSize0;
  uint16_t idVendor, idProduct, bcdDevice;
  uint8_t iManufacturer, iProduct, iSerialNumber, bNumConfigurations;
};
struct libusb_transfer;
typedef void (*libusb_transfer_cb_fn)(struct libusb_transfer *);
struct libusb_transfer {
  libusb_device_handle *dev_handle;
  uint8_t flags;
  unsigned char endpoint, type;
  unsigned timeout;
  int status, length, actual_length;
  libusb_transfer_cb_fn callback;
  void *user_data;
  unsigned char *buffer;
  int num_iso_packets;
};
enum libusb_option { LIBUSB_OPTION_LOG_LEVEL };
enum { LIBUSB_SPEED_HIGH = 3, LIBUSB_SPEED_SUPER = 4 };
enum { LIBUSB_TRANSFER_COMPLETED, LIBUSB_TRANSFER_CANCELLED = 3 };
enum { LIBUSB_ERROR_NOT_FOUND = -5, LIBUSB_ERROR_TIMEOUT = -7 };
