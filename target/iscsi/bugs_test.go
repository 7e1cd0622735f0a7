package iscsi_test

// What others got wrong, and the test here that notices if we do.
//
//	CVE-2013-2850   LIO    long unknown key         TestBug_CVE_2013_2850_LongUnknownKey
//	bf33e01f8838    LIO    2,048 times a=b          TestBug_LIO_bf33e01f8838_ManyUnknownPairs
//	CVE-2026-90011  LIO    text without an end      TestBug_CVE_2026_90011_TextWithoutEnd
//	85db7391310b    LIO    long base64 response     TestBug_LIO_85db7391310b_LongBase64Response
//	CHAP_N          LIO    names taken for numbers  TestBug_LIO_NamesThatLookBinary
//	778c2ab142c6    LIO    text and data digest     TestBug_LIO_778c2ab142c6_TextDigest
//	ECDB AHS        LIO    AHSLength 0              TestBug_LIO_ECDB_AHSLength
//	CVE-2026-23193, CVE-2026-23216  LIO  use after free   TestBug_CVE_2026_23193_ComeAndGo, TestAbortStorm
//	CVE-2025-38075  LIO    ping of a closed connection    TestBug_CVE_2025_38075_PingOfClosedConnection
//	login semaphore LIO    slow logins hold up all  TestBug_LIO_LoginSemaphore_Slowloris
//	d5869dae5080    LIO    abort while data is due  TestBug_LIO_d5869dae5080_AbortWithDataOutstanding
//	CVE-2026-53176  isert  short login              TestBug_CVE_2026_53176_ShortLogin
//	CVE-2011-0001   tgt    before login             TestBug_CVE_2011_0001_LoginOutOfOrder, FuzzConnection
//	CVE-2024-45751  tgt    predictable challenge    TestBug_CVE_2024_45751_ChallengesAfterRestart
//	b73c64d         tgt    access: and, or          TestBug_tgt_b73c64d_AccessTable
//	CVE-2021-28361  SPDK   no data                  TestBug_CVE_2021_28361_NoData
//	eb739d0364 and others  SPDK  split segments     TestBug_SPDK_eb739d0364_OneByteSegments
//	CVE-2024-8178 and others  FreeBSD  old data     TestBug_FreeBSD_CVE_2024_8178_OldDataInBuffers
//	CVE-2014-0255   Windows  flood                  TestBug_CVE_2014_0255_Flood
//	session names   SCST   long names               TestBug_SCST_LongAndFoldedNames
//	AuthMethod      gotgt  no CHAP, map races       TestBug_gotgt_NoWayAroundCHAP, all with -race
//	CVE-2026-22998, CVE-2026-89969  nvmet  data first, long header  TestBug_nvmet_CVE_2026_22998_DataBeforeCommand
//	late writes     -      effect after the answer  TestAborts, TestResetWaitsForOthers, TestReinstatement
//	C bit           -      requests without an end  TestBug_ContinueBitBomb, TestText
//	a panic         -      ends one connection      TestPanicEndsOneSession, TestPanicInLogin
