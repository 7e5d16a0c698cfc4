/* The program of the Linux guest: it checks its own memory and disks, and says so on the serial line.
 *
 * Memory: PAGES pages, each with the round in which it was written last, and a checksum.  A table holds
 * the rounds that are expected, so pages of two instants do not agree.
 * Disks: each round writes one slot of every writable disk with O_DIRECT and O_SYNC, and reads the slot
 * of the round before, whose content is remembered in memory.  A disk and a memory of two instants do
 * not agree.  At the start the newest slot of each disk is read: disks of one instant differ by one
 * round at most, since each round goes over all of them.
 *
 * It prints: the round as eight hexadecimal digits, each 16 rounds; `DISK name round` for a disk that
 * came; `START round`; and `FAIL why` when something does not agree.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <termios.h>
#include <unistd.h>

#define PAGE 4096
#define SLOTS 32
#define FIRST_SLOT (1 << 20)
#define DISKS 24
#define MARK 0x6e616c7070616e73ULL
#define BEAT 16
#define PAGES_A_ROUND 64

struct record {
    uint64_t mark, round, where, sum;
};

struct disk {
    char name[256];
    int file;
    uint64_t identity, last;
    int slot_written;
};

static struct disk disks[DISKS];
static int disk_count;
static unsigned char *sector;

static void say(const char *format, ...)
{
    char line[512];
    va_list rest;
    va_start(rest, format);
    int length = vsnprintf(line, sizeof line - 1, format, rest);
    va_end(rest);
    line[length++] = '\n';
    if (write(1, line, length) != length)
        _exit(1);
}

static uint64_t mixed(uint64_t value)
{
    value ^= value >> 33;
    value *= 0xff51afd7ed558ccdULL;
    value ^= value >> 29;
    return value;
}

static struct record record_of(uint64_t round, uint64_t where)
{
    struct record made = {MARK, round, where, mixed(round * 31 + mixed(where) + MARK)};
    return made;
}

static int holds(const void *place, struct record wanted)
{
    return memcmp(place, &wanted, sizeof wanted) == 0;
}

static uint64_t identity_of(const char *name)
{
    uint64_t found = 7;
    for (; *name; name++)
        found = mixed(found + (unsigned char)*name);
    return found;
}

static off_t place_of(uint64_t round)
{
    return FIRST_SLOT + (off_t)(round % SLOTS) * PAGE;
}

static uint64_t newest_on(struct disk *disk)
{
    uint64_t newest = 0;
    for (uint64_t slot = 0; slot < SLOTS; slot++) {
        struct record found;
        if (pread(disk->file, sector, PAGE, place_of(slot)) != PAGE)
            continue;
        memcpy(&found, sector, sizeof found);
        if (holds(sector, record_of(found.round, disk->identity)) && found.round > newest)
            newest = found.round;
    }
    return newest;
}

static long number_in(const char *name, const char *what)
{
    char path[600];
    long found = -1;
    snprintf(path, sizeof path, "/sys/block/%s/%s", name, what);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%ld", &found) != 1)
        found = -1;
    fclose(file);
    return found;
}

static int is_known(const char *name)
{
    for (int i = 0; i < disk_count; i++)
        if (strcmp(disks[i].name, name) == 0)
            return 1;
    return 0;
}

static void look_for_disks(void)
{
    DIR *folder = opendir("/sys/block");
    struct dirent *entry;
    while (folder != NULL && (entry = readdir(folder)) != NULL && disk_count < DISKS) {
        const char *name = entry->d_name;
        char path[600];
        if (strncmp(name, "vd", 2) && strncmp(name, "sd", 2) && strncmp(name, "nvme", 4))
            continue;
        if (is_known(name) || number_in(name, "ro") != 0 || number_in(name, "size") < 4096)
            continue;
        snprintf(path, sizeof path, "/dev/%s", name);
        struct disk *disk = &disks[disk_count];
        disk->file = open(path, O_RDWR | O_EXCL | O_DIRECT | O_SYNC); /* EXCL: none that is mounted */
        if (disk->file < 0)
            continue;
        snprintf(disk->name, sizeof disk->name, "%s", name);
        disk->identity = identity_of(name);
        disk->last = newest_on(disk);
        disk->slot_written = disk->last != 0;
        disk_count++;
        say("DISK %s %08llx", name, (unsigned long long)disk->last);
    }
    if (folder != NULL)
        closedir(folder);
}

static void check_disk(struct disk *disk, uint64_t round)
{
    if (disk->slot_written) {
        if (pread(disk->file, sector, PAGE, place_of(disk->last)) != PAGE)
            say("FAIL %s cannot be read", disk->name);
        else if (!holds(sector, record_of(disk->last, disk->identity)))
            say("FAIL %s does not hold round %08llx, which memory remembers", disk->name,
                (unsigned long long)disk->last);
    }
    struct record made = record_of(round, disk->identity);
    memset(sector, 0, PAGE);
    memcpy(sector, &made, sizeof made);
    if (pwrite(disk->file, sector, PAGE, place_of(round)) != PAGE) {
        say("FAIL %s cannot be written", disk->name);
        return;
    }
    disk->last = round;
    disk->slot_written = 1;
}

int main(int count, char **words)
{
    size_t pages = (count > 1 ? (size_t)atol(words[1]) : 16) << 8;
    uint64_t round = 0, random = 88172645463325252ULL;
    struct termios line;
    if (tcgetattr(1, &line) == 0) {
        cfmakeraw(&line);
        tcsetattr(1, TCSANOW, &line);
    }
    unsigned char *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *expected = calloc(pages, sizeof *expected);
    sector = aligned_alloc(PAGE, PAGE);
    if (memory == MAP_FAILED || expected == NULL || sector == NULL) {
        say("FAIL there is not enough memory");
        return 1;
    }
    for (size_t page = 0; page < pages; page++) {
        struct record made = record_of(0, page);
        memcpy(memory + page * PAGE, &made, sizeof made);
        memcpy(memory + page * PAGE + PAGE - sizeof made, &made, sizeof made);
    }
    look_for_disks();
    uint64_t oldest = UINT64_MAX;
    for (int i = 0; i < disk_count; i++) {
        if (disks[i].last > round)
            round = disks[i].last;
        if (disks[i].last < oldest)
            oldest = disks[i].last;
    }
    if (disk_count > 0 && round - oldest > 1)
        say("FAIL the disks are of rounds %08llx to %08llx", (unsigned long long)oldest,
            (unsigned long long)round);
    say("START %08llx", (unsigned long long)round);
    for (;;) {
        round++;
        for (int i = 0; i < disk_count; i++)
            check_disk(&disks[i], round);
        for (int i = 0; i < PAGES_A_ROUND; i++) {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            size_t page = random % pages;
            struct record wanted = record_of(expected[page], page), made = record_of(round, page);
            unsigned char *place = memory + page * PAGE;
            if (!holds(place, wanted) || !holds(place + PAGE - sizeof wanted, wanted))
                say("FAIL page %zu is not of round %08llx", page,
                    (unsigned long long)expected[page]);
            memcpy(place, &made, sizeof made);
            memcpy(place + PAGE - sizeof made, &made, sizeof made);
            expected[page] = round;
        }
        if (round % BEAT == 0) {
            say("%08llx", (unsigned long long)round);
            look_for_disks();
        }
        usleep(2000);
    }
}
