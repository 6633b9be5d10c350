# The walker under the sanitizers: make -f nsenter/sanitize/sanitize.mk OUT=FILE
CC ?= gcc
OUT ?= walker-sanitized
DIR := $(dir $(lastword $(MAKEFILE_LIST)))

$(OUT): $(DIR)main.c $(DIR)../nsenter.c $(DIR)../step.h
	$(CC) -std=gnu11 -Wall -Wextra -Werror -g -O1 -fno-omit-frame-pointer \
		-fsanitize=address,undefined -fno-sanitize-recover=all -o $@ $<
