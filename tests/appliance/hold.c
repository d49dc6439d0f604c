/* Holds one thread of another process where it is, until that process ends: hold THREAD */
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

int main(int count, char **words) {
    int status, thread = count == 2 ? atoi(words[1]) : 0;
    if (ptrace(PTRACE_SEIZE, thread, 0, 0) || ptrace(PTRACE_INTERRUPT, thread, 0, 0))
        return 1;
    do {
        if (waitpid(thread, &status, __WALL) < 0)
            return 1;
    } while (!WIFEXITED(status) && !WIFSIGNALED(status));
    return 0;
}
