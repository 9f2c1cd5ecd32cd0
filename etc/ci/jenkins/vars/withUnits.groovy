// Holds units of a resourced pool while a block of a pipeline runs:
//
//     withUnits(resource: 'phones', tags: ['android'], count: 2) {
//         sh './test.sh'
//     }
//
// The block has the variable RESOURCED_LOCKS, which says what they are. So it can give one back as broken:
// sh 'resourcectl unlock --out "does not boot" phones/p7'. The script units.sh belongs into the folder resources of the library.
def call(Map options, Closure body) {
    String file = "${pwd(tmp: true)}/units-${UUID.randomUUID()}.json"
    String tags = options.get('tags', []).collect { "--tag '${it}'" }.join(' ')
    writeFile file: "${file}.sh", text: libraryResource('units.sh')
    // Jenkins ends what a step leaves behind, but for this.
    withEnv(['JENKINS_NODE_COOKIE=dontKillMe']) {
        sh "sh '${file}.sh' take '${file}' --any '${options.resource}' --count ${options.get('count', 1)} ${tags}"
    }
    try {
        withEnv(["RESOURCED_LOCKS=${readFile(file).trim()}"]) {
            body()
        }
    } finally {
        sh "sh '${file}.sh' give '${file}'"
    }
}
